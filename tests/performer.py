"""A program: perform lines of Python by one version of pottery, as it is told.

It stands by itself, for it is run by the Python of an environment in which pottery 3.0 is, or ours.
Its arguments are the URLs of servers: the first one keeps containers, all others are masters. Each
line of its input is code and a repr of values for its names; it answers by what repr the last
expression of the code has, or by the name and the text of an exception.
"""

from __future__ import annotations

import ast
import json
import sys
import warnings
from collections import Counter, OrderedDict, deque
from importlib.metadata import version
from math import inf, nan

import redis as redis_py

import pottery

# What a repr may contain, on its way in either direction.
READABLE = {
    "Counter": Counter,
    "OrderedDict": OrderedDict,
    "deque": deque,
    "inf": inf,
    "nan": nan,
}


def perform(code, names):
    """Run *code*; return the value of its last line, if that is an expression."""
    *before, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        exec(code, names)
        return None
    exec(compile(ast.Module(before, []), "<code>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<code>", "eval"), names)


def answer(line, names):
    code, values = json.loads(line)
    try:
        names.update(eval(values, dict(READABLE)))
        value = perform(code, names)
        return ["", repr(value if type(value).__module__ in {"builtins", "collections"} else None)]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side hears of it
        return [type(error).__name__, str(error)]


def main(url, *masters):
    names = {
        "redis": redis_py.Redis.from_url(url),
        "masters": [redis_py.Redis.from_url(master) for master in masters],
        "version": version("pottery"),
        **{name: getattr(pottery, name) for name in pottery.__all__},
        **READABLE,
    }
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(line, names)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
