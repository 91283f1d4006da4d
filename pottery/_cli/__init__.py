"""The command `pottery`: shows what pottery has in Redis, and whether Redis suits it.

Everything here only reads, except for `bench`. Nothing in the library imports this package.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery import __version__
from pottery._cli._bench import bench
from pottery._cli._doctor import examine
from pottery._cli._locks import show_locks
from pottery._cli._ls import ORDERS, list_keys
from pottery._cli._screen import Screen
from pottery._cli._server import Servers, Trouble, reason
from pottery._cli._show import show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Arguments = argparse.Namespace

# The exit statuses of programs ended by Ctrl-C, or by a pipe that nobody reads.
_INTERRUPTED, _NOBODY_READS = 130, 141
_AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    RedisClusterException,
    ConnectionError,
    TimeoutError,
)

_ABOUT = """\
Look at what pottery has in Redis, and at whether Redis suits pottery.

Nothing is written, except by `bench`. The server is the one at --url, or else
at REDIS_URL, or else on localhost. (Other users of this machine may see what
follows --url, so put passwords into REDIS_URL.)"""
_STATUS = """\
exit status: 0 all is well; 1 something is not; 2 no connection, or a mistake
in the arguments."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments *argv*; return its exit status."""
    arguments = _parser().parse_args(argv)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by 2>&-
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
            setattr(sys, name, nowhere)
    with suppress(AttributeError):  # where something other than a file replaces it
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except Trouble as trouble:
        return _complain(str(trouble), trouble.status)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _print_no_more()
        return _NOBODY_READS
    except OSError as error:
        _print_no_more()
        return _complain(f"cannot print: {reason(error)}", 2)
    return status


def _print_no_more() -> None:
    # Otherwise Python would complain again when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: Arguments) -> int:
    screen = Screen(is_json=arguments.json, is_full=getattr(arguments, "full", False))
    run: Callable[[Screen, Arguments], int] = arguments.run
    try:
        return run(screen, arguments)
    except BrokenPipeError:
        raise
    except _AWAY as error:
        raise Trouble(f"the connection failed: {reason(error)}", 2) from error
    except RedisError as error:
        raise Trouble(f"the server says: {reason(error)}") from error
    finally:
        screen.end_progress()


def _complain(text: str, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"pottery: {text}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="pottery", description=_ABOUT, epilog=_STATUS, formatter_class=raw
    )
    parser.add_argument("--version", action="version", version=f"pottery {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_ls, _add_show, _add_locks, _add_doctor, _add_bench):
        add(subparsers)
    return parser


def _command(
    subparsers: Any, name: str, run: Callable[[Screen, Arguments], int], about: str, examples: str
) -> Any:
    """Add a command; the first line of *about* appears in the list of commands."""
    parser = subparsers.add_parser(
        name,
        help=about.partition("\n")[0],
        description=about,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", help="the server, instead of that at REDIS_URL or on localhost")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each item")
    parser.set_defaults(run=run)
    return parser


def _add_ls(subparsers: Any) -> None:
    about = """\
list the containers, their kinds, sizes, and times to live

Redis does not always know the kind: a hash may be a dict or a counter. Keys
that belong to a container or a lock, such as the list of its waiters, are left
out. Sizes are in elements, or in bytes; a TTL of - means for ever."""
    examples = """\
  pottery ls                      all keys
  pottery ls 'session:*'          those that match, as in Redis: * ? [abc]
  pottery ls --sort size | head   the largest
  pottery ls --json | jq -r 'select(.ttl == null) | .key'"""
    parser = _command(subparsers, "ls", _run_ls, about, examples)
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN")
    parser.add_argument("--all", action="store_true", help="also keys that belong to others")
    parser.add_argument(
        "--sort", choices=ORDERS, help="read all keys, then print; else print pages as they come"
    )


def _run_ls(screen: Screen, arguments: Arguments) -> int:
    servers = Servers(arguments.url)
    pattern = os.fsencode(arguments.pattern)
    return list_keys(screen, servers, pattern, shows_all=arguments.all, order=arguments.sort)


def _add_show(subparsers: Any) -> None:
    about = """\
show what is in a container, a lock, or a sequence of IDs

Values are shown as Python shows them; what is not JSON is shown as it is, and
marked as undecodable. Items that came back to a queue come first, since they
are got first."""
    examples = """\
  pottery show cart:42
  pottery show cart:42 --limit 0 --json > cart.jsonl   all of it
  pottery show printer                                 the lock of that name"""
    parser = _command(subparsers, "show", _run_show, about, examples)
    parser.add_argument("key", metavar="KEY")
    parser.add_argument(
        "--limit", type=_count, default=100, help="how many elements, 0 for all (100)", metavar="N"
    )
    parser.add_argument("--full", action="store_true", help="do not cut long values")


def _run_show(screen: Screen, arguments: Arguments) -> int:
    servers, key = Servers(arguments.url), os.fsencode(arguments.key)
    return show(screen, servers, key, limit=arguments.limit, is_full=arguments.full)


def _add_locks(subparsers: Any) -> None:
    about = """\
show who holds which lock, for how long, and who waits

The holder is the token that a majority of the masters has, and the time left is
how long a majority keeps it. If there are several masters, name them all."""
    examples = """\
  pottery locks
  pottery locks 'print*' --json
  pottery locks --masters redis://one redis://two redis://three"""
    parser = _command(subparsers, "locks", _run_locks, about, examples)
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN")
    parser.add_argument("--masters", nargs="+", metavar="URL", help="the servers, instead of --url")
    parser.add_argument("--full", action="store_true", help="do not cut long tokens")


def _run_locks(screen: Screen, arguments: Arguments) -> int:
    tried = [_tried(url) for url in arguments.masters or [arguments.url]]
    troubles = [one for one in tried if isinstance(one, Trouble)]
    masters = [server for one in tried if isinstance(one, Servers) for server in one.all]
    if not masters:
        raise troubles[0]
    for one in troubles:
        screen.note(f"pottery: {one}")
    return show_locks(screen, masters, os.fsencode(arguments.pattern), len(troubles))


def _tried(url: str | None) -> Servers | Trouble:
    try:
        return Servers(url)
    except Trouble as trouble:
        return trouble


def _add_doctor(subparsers: Any) -> None:
    about = """\
check whether the server's settings suit what pottery promises

Each finding says what it means. RISK marks what may lose data or break a
promise, and makes the exit status 1; ? marks what this user may not look at."""
    examples = """\
  pottery doctor
  pottery doctor --json | jq 'select(.mark == "risk")'"""
    _command(subparsers, "doctor", _run_doctor, about, examples)


def _run_doctor(screen: Screen, arguments: Arguments) -> int:
    return examine(screen, Servers(arguments.url))


def _add_bench(subparsers: Any) -> None:
    about = """\
measure this server from this machine, for a few seconds; this WRITES

It writes to temporary keys of its own, and removes them. It measures one caller
and one call at a time; several callers get more done. The server is busy
meanwhile."""
    examples = """\
  pottery bench
  pottery bench --seconds 10 --json"""
    parser = _command(subparsers, "bench", _run_bench, about, examples)
    parser.add_argument(
        "--seconds", type=_seconds, default=3.0, help="how long, about, up to 60 (3)", metavar="S"
    )


def _run_bench(screen: Screen, arguments: Arguments) -> int:
    return bench(screen, Servers(arguments.url), arguments.seconds)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, and not negative: {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0.1 <= float(text) <= 60:
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number from 0.1 to 60: {text!r}")
