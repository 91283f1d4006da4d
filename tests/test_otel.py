"""What OpenTelemetry hears of operations, by its own SDK."""

from __future__ import annotations

import asyncio
import threading
import time
from importlib.metadata import version

import pytest

pytest.importorskip("opentelemetry.sdk")

from clients import close, wait_until
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from operations import OPERATIONS, attach, prepare
from redis import asyncio as asynchronous
from redis.exceptions import ResponseError

import pottery
from pottery import (
    AIORedisList,
    AIORedisSimpleQueue,
    NextId,
    OutcomeUnknown,
    QueueEmptyError,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    otel,
    redis_cache,
)
from pottery._front import Async, Sync

API = tuple(map(int, version("opentelemetry-api").split(".")[:2]))


class Heard:
    """What was exported."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def only(self):
        (span,) = self.spans
        return span

    def names(self):
        return [span.name for span in self.spans]

    def points(self):
        data = self.reader.get_metrics_data()
        (resource,) = data.resource_metrics
        (metric,) = resource.scope_metrics[0].metrics
        return metric, metric.data.data_points


@pytest.fixture
def heard():
    heard = Heard()
    otel.instrument(tracer_provider=heard.tracers, meter_provider=heard.meters)
    yield heard
    otel.uninstrument()
    heard.tracers.shutdown()
    heard.meters.shutdown()


def test_operation_is_a_span_with_the_attributes_of_the_conventions(redis, heard):
    RedisSet(redis=redis, key="s").add(1)

    span = heard.only()
    options = redis.connection_pool.connection_kwargs
    assert (span.name, span.kind) == ("RedisSet.add", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert dict(span.attributes) == {
        "db.system.name": "redis",
        "db.operation.name": "SADD",
        "db.namespace": str(options.get("db", 0)),
        "server.address": options["host"],
        "server.port": options["port"],
        "pottery.round_trips": 1,
    }
    assert span.instrumentation_scope.version == pottery.__version__


def test_duration_is_measured_in_seconds(redis, heard):
    numbers = RedisSet(redis=redis, key="s")
    for _ in range(3):
        numbers.add(1)

    metric, (point,) = heard.points()
    assert (metric.name, metric.unit) == ("db.client.operation.duration", "s")
    assert (point.count, 0 < point.sum < 60) == (3, True)
    assert point.attributes["pottery.operation"] == "RedisSet.add"
    assert point.attributes["db.operation.name"] == "SADD"
    if API >= (1, 30):  # before that, a view of the application has to say so
        assert point.explicit_bounds == otel._BOUNDARIES


def test_span_is_a_child_of_the_callers(redis, heard):
    with heard.tracers.get_tracer("mine").start_as_current_span("mine") as mine:
        RedisSet(redis=redis, key="s").add(1)

    child, _ = heard.spans
    assert child.parent.span_id == mine.get_span_context().span_id


def test_names_are_those_that_the_caller_has_called(redis, heard):
    class Prices(RedisDict):
        pass

    d = Prices({"a": 1}, redis=redis, key="d")
    d["a"]
    d |= {"b": 2}
    list(d)
    repr(d)
    s = RedisSet([1], redis=redis, key="s")
    s |= s | {2}
    root = redis_cache(redis=redis, key="roots")(abs)
    root(-2)
    next(NextId(key="ids", masters={redis}))
    with Redlock(key="lock", masters={redis}):
        pass

    assert heard.names() == [
        "Prices.__init__",
        "Prices.__getitem__",
        "Prices.__ior__",
        "Prices.__len__",
        "Prices.__iter__",
        "Prices.__repr__",
        "RedisSet.__init__",
        "RedisSet.__or__",
        "RedisSet.__ior__",
        *("CachedFunction.__call__",) * 2,
        "NextId.__next__",
        "Redlock.__enter__",
        "Redlock.__exit__",
    ]


def test_keys_are_shown_only_if_asked_for(redis, heard):
    def use():
        RedisSet(redis=redis, key="ann@example.org").add("bob@example.org")
        redis.set("ann@example.org", 1)
        with pytest.raises(ResponseError):
            RedisSet(redis=redis, key="ann@example.org").add(1)
        redis.delete("ann@example.org")
        redis.rpush("ann@example.org", "bob@example.org")
        with pytest.raises(ValueError, match="decoded"):
            RedisList(redis=redis, key="ann@example.org")[0]
        redis.delete("ann@example.org")

    use()
    assert len(heard.spans) == 3
    assert "example.org" not in "".join(span.to_json() for span in heard.spans)

    otel.instrument(tracer_provider=heard.tracers, shows_keys=True)
    use()
    shown = heard.spans[3:]
    assert [span.attributes["pottery.key"] for span in shown] == ["ann@example.org"] * 3
    assert "bob@example.org" in shown[-1].to_json()


def test_error_of_the_server_is_recorded(redis, heard):
    redis.set("k", 1)
    with pytest.raises(ResponseError):
        RedisSet(redis=redis, key="k").add(1)

    span = heard.only()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "redis.exceptions.ResponseError"
    assert span.attributes["db.response.status_code"] == "WRONGTYPE"
    assert [event.name for event in span.events] == ["exception"]
    _, (point,) = heard.points()
    assert point.attributes["error.type"] == "redis.exceptions.ResponseError"


def test_lost_reply_is_recorded(five_servers, heard):
    with five_servers[0].proxy() as proxy, proxy.client() as client:
        proxy.drop_reply()
        with pytest.raises(OutcomeUnknown):
            RedisList(redis=client, key="l").append(1)

    assert heard.only().attributes["error.type"] == "pottery.exceptions.OutcomeUnknown"


def test_answers_of_python_are_no_errors(redis, heard):
    with pytest.raises(KeyError):
        RedisDict(redis=redis, key="d")["missing"]
    with pytest.raises(IndexError):
        RedisList(redis=redis, key="l").pop()
    with pytest.raises(QueueEmptyError):
        RedisSimpleQueue(redis=redis, key="q").get_nowait()

    assert [span.status.status_code for span in heard.spans] == [StatusCode.UNSET] * 3
    assert all("error.type" not in span.attributes for span in heard.spans)


def test_long_container_is_one_span_for_all_its_pages(redis, heard):
    RedisList(range(25_000), redis=redis, key="l").to_list()

    assert heard.names() == ["RedisList.__init__", "RedisList.to_list"]
    assert heard.spans[-1].attributes["pottery.round_trips"] > 10


def elapsed(span):
    return (span.end_time - span.start_time) / 1e9


def test_waiting_for_an_item_is_one_span(redis, server, heard):
    queue = RedisSimpleQueue(redis=redis, key="q")
    consumer = threading.Thread(target=queue.get)
    consumer.start()
    wait_until(lambda: redis.exists("q~waiting"), 20)
    time.sleep(0.2)
    queue.put(1)
    consumer.join(20)

    of_get = [span for span in heard.spans if span.name == "RedisSimpleQueue.get"]
    assert len(of_get) == 1
    assert 0.2 <= elapsed(of_get[0]) < 20


def test_waiting_for_a_lock_is_one_span(redis, heard):
    with Redlock(key="lock", masters={redis}):
        assert not Redlock(key="lock", masters={redis}).acquire(timeout=0.2)

    (of_acquire,) = (span for span in heard.spans if span.name == "Redlock.acquire")
    assert 0.2 <= elapsed(of_acquire) < 20
    assert of_acquire.status.status_code is StatusCode.UNSET


def test_awaited_operations_are_heard_of(redis, server, heard):
    async def use():
        client = asynchronous.Redis.from_url(server.url)
        items = await AIORedisList.create([1, 2], redis=client, key="l")
        await items.append(3)
        assert [item async for item in items] == [1, 2, 3]
        queue = AIORedisSimpleQueue(redis=client, key="q")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.get(), 0.1)
        await close(client)

    asyncio.run(use())

    assert heard.names() == [
        *("AIORedisList.create", "AIORedisList.append", "AIORedisList.__aiter__"),
        "AIORedisSimpleQueue.get",
    ]
    assert heard.spans[-1].attributes["error.type"] == "asyncio.exceptions.CancelledError"


def test_tasks_do_not_mix_up_their_spans(redis, server, heard):
    async def use():
        client = asynchronous.Redis.from_url(server.url)
        tracer = heard.tracers.get_tracer("mine")

        async def one(number):
            with tracer.start_as_current_span(f"task {number}"):
                await AIORedisList(redis=client, key="l").append(number)

        await asyncio.gather(*map(one, range(20)))
        await close(client)

    asyncio.run(use())

    parents = {span.context.span_id for span in heard.spans if span.name.startswith("task")}
    children = [span for span in heard.spans if span.name == "AIORedisList.append"]
    assert {child.parent.span_id for child in children} == parents
    assert len(parents) == 20


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_operation_is_heard_of_with_its_round_trips(
    operation, redis, server, commands, heard
):
    pottery._temporary.ABANDONED.clear()
    prepare(operation.kind, redis)
    if operation.is_awaited:
        sent = asyncio.run(awaited(operation, server.url, commands(redis), heard))
    else:
        target = attach(operation, redis)
        heard.exporter.clear()
        with commands(redis) as sent:
            result = operation.call(target)
        del result

    spans = [span for span in heard.spans if span.attributes["pottery.round_trips"]]
    assert sum(span.attributes["pottery.round_trips"] for span in spans) == len(sent)
    assert all("._" not in span.name.replace(".__", "") for span in spans), heard.names()
    assert not [span for span in spans if "error.type" in span.attributes]


async def awaited(operation, url, recording, heard):
    client = asynchronous.Redis.from_url(url)
    target = attach(operation, client)
    if asyncio.iscoroutine(target):
        target = await target
    heard.exporter.clear()
    with recording as sent:
        result = operation.call(target)
        if asyncio.iscoroutine(result):
            await result
    await close(client)
    return sent


def test_without_instruments_the_front_is_what_it_was(redis):
    before = Sync._perform, Async._perform
    heard = Heard()
    for _ in range(2):
        otel.instrument(tracer_provider=heard.tracers, meter_provider=heard.meters)
        assert Sync._perform is not before[0]
        RedisSet(redis=redis, key="s").add(1)
    otel.uninstrument()
    otel.uninstrument()

    assert (Sync._perform, Async._perform) == before
    RedisSet(redis=redis, key="s").add(1)
    assert len(heard.spans) == 2
