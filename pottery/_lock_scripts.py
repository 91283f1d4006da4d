"""What a lock asks of each of its masters: Lua scripts, sent as text (see `evaluate`)."""

from __future__ import annotations

_CLOCK = """
local time = redis.call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
"""
TRY = """
-- KEYS[1] lock, [2] reservation; ARGV[1] token, [2] ms of the lease; returns OK or nil
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
"""
ACQUIRE = (
    """
-- KEYS[1] lock, [2] reservation, [3] waiters, [4] fence; ARGV[1] token, [2] ms of the lease, [3] ms
-- that the caller will wait or 0, [4] proposed fencing token or 0, [5] ms that the fence is kept,
-- [6] seconds of uptime required or 0, [7] name of the waiter or '', [8] token whose release it has
-- heard of or ''; returns {'OK', fence before, replaced if it was lower}, or why not: {ms, owner},
-- {'YOUNG'}, {'TWICE'}
if ARGV[6] ~= '0' then
  local up = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
  if tonumber(up) <= tonumber(ARGV[6]) then return {'YOUNG'} end
end
"""
    + _CLOCK
    + """
local owner, why = redis.call('GET', KEYS[1]), KEYS[1]
if owner == ARGV[1] then return {'TWICE'} end
if not owner then
  owner, why = redis.call('GET', KEYS[2]), KEYS[2]
  if owner == ARGV[8] then owner = false end
end
if owner then
  if ARGV[3] ~= '0' then
    redis.pcall('ZADD', KEYS[3], time + ARGV[3], ARGV[7])
    -- others may wait for longer; PEXPIRE knows GT only since Redis 7
    if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[3]) then
      redis.pcall('PEXPIRE', KEYS[3], ARGV[3])
    end
  elseif ARGV[7] ~= '' then
    redis.call('ZREM', KEYS[3], ARGV[7])
  end
  return {redis.call('PTTL', why), owner}
end
local fence = ARGV[4] ~= '0' and redis.call('GET', KEYS[4]) or '0'
local is_lower = (tonumber(fence) or math.huge) < tonumber(ARGV[4])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[7] ~= '' then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[7])
end
if is_lower then redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5]) end
return {'OK', fence}
"""
)
EXTEND = """
-- KEYS[1] lock; ARGV[1] token, [2] ms of the lease; returns whether the token had the lock
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
RELEASE = (
    """
-- KEYS[1] lock, [2] reservation, [3] waiters, [4] bell; ARGV[1] token, [2] ms that the bell sounds,
-- [3] ms that the lock is reserved for the one that hears it, or 0 for no bell, [4] 'held' if the
-- token certainly has the lock at most masters, [5] name of the owner when it was a waiter, if it
-- was; returns whether the token had the lock here
local was_its = redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
if ARGV[5] then redis.pcall('ZREM', KEYS[3], ARGV[5]) end
-- Even if the token did not have the lock here, a waiter may listen to this bell only. But if the
-- lock had become another's, waiters would be woken in vain, and lose their turn.
local rings = ARGV[3] ~= '0' and (was_its == 1 or ARGV[4] == 'held')
if not rings or redis.call('EXISTS', KEYS[3]) == 0 then return was_its end
"""
    + _CLOCK
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', time)
if redis.call('ZCARD', KEYS[3]) > 0 then
  if was_its == 1 then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3]) end
  redis.call('DEL', KEYS[4])
  redis.call('RPUSH', KEYS[4], ARGV[1])
  redis.call('PEXPIRE', KEYS[4], ARGV[2])
end
return was_its
"""
)
LEFT = """
-- KEYS[1] lock; ARGV[1] token; returns the ms left of its lease, 0 if it does not have the lock
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PTTL', KEYS[1])
"""
FENCE = """
-- KEYS[1] lock, [2] fence; ARGV[1] token, [2] proposal, [3] ms that the fence is kept; returns the
-- fence before, replaced by the proposal if it was lower, or nil if the token lost the lock
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local fence = redis.call('GET', KEYS[2]) or '0'
if (tonumber(fence) or math.huge) < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return fence
"""
