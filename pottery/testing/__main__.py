"""`python -m pottery.testing`: a server to try things out on, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys

from pottery.testing import RedisServer

# Signals that tell a program to end: Ctrl-C, `kill`, a terminal that is closed.
_ENDS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def main() -> None:
    """Run a server until a signal ends it."""
    parser = argparse.ArgumentParser(
        prog="python -m pottery.testing",
        description="Run a Redis server to try things out on, until Ctrl-C. It keeps nothing.",
    )
    about_port = "6379 by default, 0 for a free one"
    parser.add_argument("--port", type=_port, default=6379, help=about_port)
    try:
        with RedisServer(port=parser.parse_args().port) as server:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # not before: servers inherit it
            print(f"{server.url} is ready, until Ctrl-C", flush=True)  # noqa: T201 - a program
            signal.sigwait(_ENDS)
    except (FileNotFoundError, RuntimeError, TimeoutError) as error:
        sys.exit(str(error))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535: {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
