"""Traces and metrics of what pottery does, for OpenTelemetry.

    from pottery import otel
    otel.instrument()

From then on, every operation is one span, such as `RedisDict.update`, and one value of the
histogram `db.client.operation.duration`, even one that waits, such as `get` of a queue or `acquire`
of a lock. Until then, nothing is different: `instrument` replaces the methods that perform
operations, and `uninstrument` restores them.

It needs the package opentelemetry-api: `pip install 'pottery[otel]'`.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import contextmanager
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import ResponseError

import pottery
from pottery._front import Async, Sync
from pottery._plan import Op, Pause
from pottery._wire import FAILURES
from pottery.exceptions import DecodeError, PrimitiveError

try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace import SpanKind, StatusCode
except ImportError as error:
    raise ImportError("pottery.otel needs opentelemetry: pip install 'pottery[otel]'") from error

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from pottery._front import Front
    from pottery._plan import Plan, Steps

_ORIGINALS: dict[type[Front], Any] = {Sync: Sync._perform, Async: Async._perform}
# Errors of the server or the network; others, such as a KeyError, are answers.
_ERRORS = (*FAILURES, PrimitiveError, DecodeError)
# Those of the semantic conventions, in seconds.
_BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
# The names by which users know iterators.
_ITERATORS = {"_pages": "__iter__", "_walk": "__aiter__"}


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    shows_keys: bool = False,
) -> None:
    """Record a span and a measurement for every operation from now on.

    The providers are the global ones unless they are given. With *shows_keys*, spans include the
    keys in Redis, which may be personal data. If called again, the new settings apply.
    """
    tracer = trace.get_tracer("pottery", pottery.__version__, tracer_provider)
    meter = metrics.get_meter("pottery", pottery.__version__, meter_provider)
    watch = _Watch(tracer, _histogram(meter), shows_keys=shows_keys)
    _put(Sync, _performing(watch))
    _put(Async, _performing_awaited(watch))


def uninstrument() -> None:
    """Undo what `instrument` did; do nothing if it was not called."""
    for front, original in _ORIGINALS.items():
        _put(front, original)


def _put(front: type[Front], perform: Any) -> None:
    cast_front: Any = front
    cast_front._perform = perform


def _histogram(meter: Meter) -> Any:
    options: dict[str, Any] = {"unit": "s", "description": "Duration of database client operations"}
    # Since version 1.30 of the API, a meter can be told that these are not milliseconds.
    if (
        "explicit_bucket_boundaries_advisory"
        in inspect.signature(meter.create_histogram).parameters
    ):
        options["explicit_bucket_boundaries_advisory"] = _BOUNDARIES
    return meter.create_histogram("db.client.operation.duration", **options)


def _performing(watch: _Watch) -> Any:
    perform = _ORIGINALS[Sync]

    @wraps(perform)
    def _perform(self: Sync, plan: Plan[Any]) -> Any:
        try:
            seen = _Seen(plan)
        except StopIteration as done:
            return done.value
        with watch.over(self, _name(self), seen):
            return perform(self, seen.plan)

    return _perform


def _performing_awaited(watch: _Watch) -> Any:
    perform = _ORIGINALS[Async]

    @wraps(perform)
    async def _perform(self: Async, plan: Plan[Any]) -> Any:
        try:
            seen = _Seen(plan)
        except StopIteration as done:
            return done.value
        with watch.over(self, _name(self), seen):
            return await perform(self, seen.plan)

    return _perform


def _name(front: Front) -> str:
    """Return the name of what the user has called: `RedisDict.update`."""
    # It is the outermost call within pottery. Operations do not tell their names to the front, so
    # that programs without tracing need not pay for it.
    called = type(front).__name__
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("pottery."):
        variables = frame.f_locals
        name = getattr(variables.get("make"), "__name__", frame.f_code.co_name)
        name = _ITERATORS.get(name, name)
        kind: Any = variables.get("cls")
        if "self" in variables:
            kind = cast("Any", type(variables["self"]))
        if kind and (not name.startswith("_") or name.startswith("__")):
            called = f"{kind.__name__}.{name}"
        frame = frame.f_back
    return called


class _Seen:
    """A plan that is observed: its first command, and how many round trips it took.

    Raises StopIteration with its result if it takes none.
    """

    def __init__(self, plan: Plan[Any]) -> None:
        self.command = ""
        self.round_trips = 0
        self.plan = plan
        if isinstance(plan, Op):
            self._note(plan)
        else:
            steps = iter(plan)
            self.plan = self._seen(next(steps), steps)

    def _seen(self, step: Any, steps: Steps[Any]) -> Steps[Any]:
        try:
            while True:
                self._note(step)
                try:
                    reply = yield step
                except BaseException as error:  # noqa: BLE001 - the plan gets it, whatever it is
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration as done:
            return done.value

    def _note(self, step: Any) -> None:
        if isinstance(step, Pause) or not step.args:
            return
        self.round_trips += 1
        self.command = self.command or str(step.args[0])


class _Watch:
    """Where spans and measurements go."""

    def __init__(self, tracer: trace.Tracer, duration: Any, *, shows_keys: bool) -> None:
        self.tracer = tracer
        self.duration = duration
        self.shows_keys = shows_keys

    @contextmanager
    def over(self, front: Front, name: str, seen: _Seen) -> Generator[None]:
        """Record a span for the block, and measure its duration."""
        attributes: dict[str, Any] = {"db.system.name": "redis", **_place(front)}
        began = perf_counter()
        # Exceptions are not all recorded, since most are answers.
        with self.tracer.start_as_current_span(
            name, kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                attributes.update(_failed(error))
                self._record(span, error)
                raise
            finally:
                if seen.command:
                    attributes["db.operation.name"] = seen.command
                measured = {**attributes, "pottery.operation": name}
                self.duration.record(perf_counter() - began, measured)
                self._describe(span, front, attributes, seen)

    def _record(self, span: Span, error: BaseException) -> None:
        """Record an error in the span; its text only if keys are shown, since it may name them."""
        if not _is_failure(error):
            return
        kind = _qualified(type(error))
        if self.shows_keys:
            span.record_exception(error)
        else:
            span.add_event("exception", {"exception.type": kind})
        span.set_status(StatusCode.ERROR, kind)

    def _describe(self, span: Span, front: Front, attributes: dict[str, Any], seen: _Seen) -> None:
        span.set_attributes({**attributes, "pottery.round_trips": seen.round_trips})
        if self.shows_keys:
            key = front.key
            text = key.decode(errors="backslashreplace") if isinstance(key, bytes) else key
            span.set_attribute("pottery.key", text)


def _place(front: Front) -> dict[str, Any]:
    """Return where the server is, if there is only one."""
    clients = getattr(front, "_masters", (front.redis,))
    pool = getattr(clients[0], "connection_pool", None) if len(clients) == 1 else None
    options: dict[str, Any] = getattr(pool, "connection_kwargs", {})
    if options.get("path"):
        place: dict[str, Any] = {"server.address": options["path"]}
    elif options.get("host"):
        place = {"server.address": options["host"], "server.port": options.get("port", 6379)}
    else:
        return {}  # of a cluster, say, or found by Sentinel
    return {**place, "db.namespace": str(options.get("db") or 0)}


def _is_failure(error: BaseException) -> bool:
    return isinstance(error, _ERRORS) or not isinstance(error, Exception)


def _failed(error: BaseException) -> dict[str, Any]:
    """Return the attributes of an error, none if it is an answer."""
    if not _is_failure(error):
        return {}
    attributes = {"error.type": _qualified(type(error))}
    code = str(error).partition(" ")[0]
    if isinstance(error, ResponseError) and code.isupper():
        attributes["db.response.status_code"] = code
    return attributes


def _qualified(kind: type[BaseException]) -> str:
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
