"""Directives that hold what pottery has against what Python has: `conformance` and `cpython`.

They print what the tests know: tests/mirrors.py, and what is left out of CPython's own tests.
"""

import platform
from collections import Counter, defaultdict

import costs
import pytest
from mirrors import ABSENT, DIFFERENCES, MIRRORS, is_absent, methods
from operations import cost, operations

try:
    import test_cpython
    import test_redlock
except pytest.skip.Exception:  # this Python comes without its tests
    test_cpython = None

BY_NAME = {kind.__name__: kind for kind in MIRRORS}
# `a != b` costs what `a == b` does, of which Python makes it.
SAME_AS = {"__ne__": "__eq__"}


def verdict(builtin, name):
    """Return whether a method does as the builtin's, and why not."""
    if is_absent(builtin, name):
        return f"**absent**: {ABSENT[builtin][name]}"
    if name in DIFFERENCES[builtin]:
        return f"**differs**: {DIFFERENCES[builtin][name].reason}"
    return "same"


def price(builtin, name):
    """Return the round trips of a method, and whether it is atomic."""
    if is_absent(builtin, name):
        return "", ""
    of = cost(getattr(MIRRORS[builtin], SAME_AS.get(name, name)))
    return (costs.trips(of), costs.is_atomic(of)) if of else ("0", "")


def spelled(kind, name):
    is_described = name in dict(operations(kind))
    return costs.linked(kind, name) if is_described else f"`{costs.spelled(name, kind)}`"


class Conformance(costs.Shown):
    """Compare each method of a builtin with ours."""

    def lines(self):
        builtin = BY_NAME[self.arguments[0]]
        ours = MIRRORS[builtin]
        names = sorted(methods(builtin), key=lambda name: (name.startswith("_"), name))
        rows = [
            (spelled(ours, name), verdict(builtin, name), *price(builtin, name)) for name in names
        ]
        counted = Counter(row[1].partition(":")[0].strip("*") for row in rows)
        told = ", ".join(f"{count} {what}" for what, count in counted.most_common())
        yield from (f"{len(rows)} methods: {told}.", "")
        yield from costs.table(["method", "beside Python's", "round trips", "atomic"], rows)
        besides = {name for name, _ in operations(ours) if not name.startswith("_")} - {*names}
        if besides:
            links = [costs.linked(ours, name) for name in sorted(besides)]
            yield from ("", f"Only ours: {', '.join(links)}.")


class CPython(costs.Shown):
    """Tell of CPython's own tests how many run on ours, and what is left out of them."""

    required_arguments = 0

    def lines(self):
        if not test_cpython:
            return
        yield from (f"With the tests of Python {platform.python_version()}:", "")
        suites = test_cpython.SUITES
        header = ["tests of", "all", "run whole", "run in part", "not run"]
        yield from costs.table(header, [*map(counts, suites), counts_of_locks()])
        yield from ("", "What is left out of them, and why:", "")
        rows = [row for suite in suites for row in reasons(suite.builtin, exclusions(suite))]
        rows += reasons("Lock", test_redlock.NOT_APPLICABLE)
        yield from costs.table(["tests of", "why", "classes, tests, or *some lines of them*"], rows)


def counts(suite):
    """Return a row: how many tests there are, and of how many all lines are run."""
    how = Counter(case_is(*case.values) for case in suite.cases())
    return row_of(suite.builtin, how["whole"], how["part"], how["left"])


def counts_of_locks():
    tests = test_redlock.unittest.defaultTestLoader
    names = tests.getTestCaseNames(test_redlock.lock_tests.LockTests)
    left = len(test_redlock.NOT_APPLICABLE)
    return row_of("Lock", len(names) - left, 0, left)


def row_of(name, *numbers):
    return f"`{name}`", *map(str, (sum(numbers), *numbers))


def case_is(suite, group, method):
    if suite.reason(group, method):
        return "left"
    classes = getattr(suite.sources[-1].original, group).__mro__
    definition = next(one for one in classes if method in vars(one))
    return "part" if suite._entry(definition, f"{definition.__name__}.{method}") else "whole"


def exclusions(suite):
    return {name: why for source in suite.sources for name, why in source.exclusions.items()}


def reasons(builtin, excluded):
    """Yield rows: each reason, and what is left out for it."""
    which = defaultdict(list)
    for name, why in excluded.items():
        whole = isinstance(why, str)
        for what in [why] if whole else why.values():
            which[getattr(what, "reason", what)].append(f"`{name}`" if whole else f"*`{name}`*")
    for reason, names in which.items():
        yield f"`{builtin}`", reason, ", ".join(dict.fromkeys(names))


def setup(app):
    app.add_directive("conformance", Conformance)
    app.add_directive("cpython", CPython)
    return {"parallel_read_safe": True}
