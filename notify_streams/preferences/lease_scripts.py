"""Lua scripts for Redis: write deltas, begin and finish a lease renewal.

Keys: ``<prefix>:<user id>`` is a delta. ``<prefix>!lease`` exists while the deltas are complete. ``<prefix>!epoch`` is a hash (`id`, `run`,
`covered`, `ahead`, `ttl`) that is gone after a flush and names another server after a failover; `ahead` is what Redis's clock was ahead of
MongoDB's, in ms, at the least since all deltas were copied, `ttl` the life of these deltas in ms, which the lease has as its value.
``<prefix>!busy`` lets one process renew at a time, ``<prefix>!standby`` names the one that looks whether it is renewed.
"""

from __future__ import annotations

from typing import Final

#: KEYS: deltas. ARGV: TTL in ms, then a row for each key. A stored row with a higher version stays, one with the same version lives on, or
#: stays if it lives longer: that of a process with a longer TTL.
WRITE_DELTAS: Final = """
local function version(row)
  local total, shift, at, byte = 0, 1, 0, 0
  repeat
    at = at + 1
    byte = string.byte(row, at)
    total = total + (byte % 128) * shift
    shift = shift * 128
  until byte < 128
  return total
end
for place, key in ipairs(KEYS) do
  local row, there = ARGV[place + 1], redis.call('GET', key)
  local older = there and version(row) - version(there)
  if not there or older > 0 or older == 0 and redis.call('PTTL', key) < tonumber(ARGV[1]) then redis.call('SET', key, row, 'PX', ARGV[1]) end
end
return 1
"""

#: KEYS: lease, epoch, busy, standby. ARGV: renew below this many ms, busy for ms (as long as a new lease lasts), id of a new epoch, the
#: process's name, standby for ms. A key that lasts longer than it was given for is of before Redis's clock was set back: it is deleted.
#: Returns {ms that the lease lasts, whether the process stands by} if there is nothing to do,
#: else {Redis's time in ms, epoch id, what the epoch covers, what the clock was ahead, the life of its deltas}.
BEGIN: Final = """
for place, most in pairs({[1] = ARGV[2], [3] = ARGV[2], [4] = ARGV[5]}) do
  if redis.call('PTTL', KEYS[place]) > tonumber(most) then redis.call('DEL', KEYS[place]) end
end
local lasts = redis.call('PTTL', KEYS[1])
if lasts > tonumber(ARGV[1]) then
  local standby = redis.call('GET', KEYS[4])
  if standby and standby ~= ARGV[4] then return {lasts, 0} end
  redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5])
  return {lasts, 1}
end
if not redis.call('SET', KEYS[3], ARGV[4], 'NX', 'PX', ARGV[2]) then return {lasts, 1} end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('HGET', KEYS[2], 'run') ~= run then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[2], 'id', ARGV[3], 'run', run)
end
local time = redis.call('TIME')
local epoch = redis.call('HMGET', KEYS[2], 'id', 'covered', 'ahead', 'ttl')
return {time[1] * 1000 + math.floor(time[2] / 1000), epoch[1], epoch[2] or '', epoch[3] or '', epoch[4] or '0'}
"""

#: KEYS: lease, epoch, busy, standby. ARGV: epoch id, the lease's end in ms, what is covered, the process's name, what the clock is ahead,
#: TTL of deltas in ms. A process that stood by and renews leaves its place to another one.
#: Returns the ms that the lease lasts now; 0: not renewed, because Redis was flushed, failed over or it is too late; -1: this Redis may
#: evict deltas.
RENEW: Final = """
for _, key in ipairs({KEYS[3], KEYS[4]}) do
  if redis.call('GET', key) == ARGV[4] then redis.call('DEL', key) end
end
local memory = redis.call('INFO', 'memory')
if tonumber(string.match(memory, 'maxmemory:(%d+)')) > 0 and not string.find(memory, 'maxmemory_policy:noeviction', 1, true) then
  redis.call('DEL', KEYS[1])
  return -1
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('HGET', KEYS[2], 'id') ~= ARGV[1] or redis.call('HGET', KEYS[2], 'run') ~= run then return 0 end
redis.call('HSET', KEYS[2], 'covered', ARGV[3], 'ahead', ARGV[5], 'ttl', ARGV[6])
local time = redis.call('TIME')
local left = ARGV[2] - time[1] * 1000 - math.floor(time[2] / 1000)
if left <= 0 or left <= redis.call('PTTL', KEYS[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[6], 'PX', left)
return left
"""
