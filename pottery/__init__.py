"""Python's own containers and primitives, with their state in Redis."""

import logging

from pottery._json import PotteryEncoder
from pottery.bloom import AIOBloomFilter, BloomFilter
from pottery.cache import redis_cache
from pottery.counter import AIORedisCounter, RedisCounter
from pottery.deque import AIORedisDeque, RedisDeque
from pottery.dict import AIORedisDict, RedisDict
from pottery.exceptions import (
    DecodeError,
    ExtendUnlockedLock,
    InefficientAccessWarning,
    KeyExistsError,
    OutcomeUnknown,
    PotteryError,
    PotteryWarning,
    PrimitiveError,
    QueueEmptyError,
    QuorumIsImpossible,
    QuorumNotAchieved,
    RandomKeyError,
    ReleaseUnlockedLock,
    TooManyExtensions,
)
from pottery.hyperloglog import AIOHyperLogLog, HyperLogLog
from pottery.list import AIORedisList, RedisList
from pottery.nextid import AIONextID, AIONextId, NextID, NextId
from pottery.ordered import AIOCachedOrderedDict, CachedOrderedDict
from pottery.queue import AIORedisSimpleQueue, RedisSimpleQueue
from pottery.redlock import AIORedlock, Redlock
from pottery.set import AIORedisSet, RedisSet
from pottery.synchronized import synchronize
from pottery.timer import ContextTimer

__version__ = "4.0.0.dev0"

# Without a handler, Python would print our warnings even where nobody has set up logging.
logging.getLogger("pottery").addHandler(logging.NullHandler())

__all__ = [
    "AIOBloomFilter",
    "AIOCachedOrderedDict",
    "AIOHyperLogLog",
    "AIONextID",
    "AIONextId",
    "AIORedisCounter",
    "AIORedisDeque",
    "AIORedisDict",
    "AIORedisList",
    "AIORedisSet",
    "AIORedisSimpleQueue",
    "AIORedlock",
    "BloomFilter",
    "CachedOrderedDict",
    "ContextTimer",
    "DecodeError",
    "ExtendUnlockedLock",
    "HyperLogLog",
    "InefficientAccessWarning",
    "KeyExistsError",
    "NextID",
    "NextId",
    "OutcomeUnknown",
    "PotteryEncoder",
    "PotteryError",
    "PotteryWarning",
    "PrimitiveError",
    "QueueEmptyError",
    "QuorumIsImpossible",
    "QuorumNotAchieved",
    "RandomKeyError",
    "RedisCounter",
    "RedisDeque",
    "RedisDict",
    "RedisList",
    "RedisSet",
    "RedisSimpleQueue",
    "Redlock",
    "ReleaseUnlockedLock",
    "TooManyExtensions",
    "redis_cache",
    "synchronize",
]
