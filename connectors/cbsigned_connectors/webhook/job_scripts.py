"""What is done to the jobs in Redis at one stroke, in Lua.

A job is a hash; its key leads to its id; sorted sets tell which jobs are open, running, ended, and to be called back.
Everything begins with KEYS[1], the prefix of all of them; so it is for one server, and not for Redis Cluster.
"""

from __future__ import annotations

__all__ = ["ACCEPT", "BEGIN", "CLAIM_CALL", "COUNTS", "END", "GIVE_BACK"]

# ARGV: id, digest of the key, sender, digest of the body, callback, now, most open, own, life in ms, oldest open
ACCEPT = """
local p, id = KEYS[1], ARGV[1]
local known = redis.call('GET', p .. 'key:' .. ARGV[2])
local job = known and redis.call('HMGET', p .. known, 'digest', 'state', 'answer')
if job and job[1] then
  if job[1] ~= ARGV[4] then return {'conflict'} end
  return {'known', known, job[2], job[3] or ''}
end
redis.call('ZREMRANGEBYSCORE', p .. 'open', '-inf', ARGV[10])
redis.call('ZREMRANGEBYSCORE', p .. 'running', '-inf', ARGV[10])
redis.call('ZREMRANGEBYSCORE', p .. 'ended', '-inf', ARGV[6])
redis.call('ZREMRANGEBYSCORE', p .. 'failed', '-inf', ARGV[6])
if ARGV[8] == '0' then
  if redis.call('ZCARD', p .. 'open') >= tonumber(ARGV[7]) then return {'full'} end
  redis.call('ZADD', p .. 'open', ARGV[6], id)
end
redis.call('HSET', p .. id, 'sender', ARGV[3], 'key', ARGV[2], 'digest', ARGV[4], 'callback', ARGV[5],
  'state', ARGV[8] == '0' and 'accepting' or 'running', 'tries', 0, 'calls', 0, 'accepted_at', ARGV[6])
redis.call('PEXPIRE', p .. id, ARGV[9])
redis.call('SET', p .. 'key:' .. ARGV[2], id, 'PX', ARGV[9])
return {'accepted', id}
"""

# ARGV: id, digest of the key, sender, digest of the body, callback, accepted at, now, most tries, life in
# ms. What the server has lost is made anew from the message. Returns 1 where the job is to be run.
BEGIN = """
local p, id = KEYS[1], ARGV[1]
local state = redis.call('HGET', p .. id, 'state')
if state == 'done' or state == 'failed' then return 0 end
if not state then
  redis.call('HSET', p .. id, 'sender', ARGV[3], 'key', ARGV[2], 'digest', ARGV[4], 'callback', ARGV[5],
    'tries', 0, 'calls', 0, 'accepted_at', ARGV[6])
  redis.call('SET', p .. 'key:' .. ARGV[2], id, 'PX', ARGV[9], 'NX')
end
redis.call('PEXPIRE', p .. id, ARGV[9])
redis.call('ZADD', p .. 'open', ARGV[6], id)
if redis.call('HINCRBY', p .. id, 'tries', 1) > tonumber(ARGV[8]) then return -1 end
redis.call('HSET', p .. id, 'state', 'running')
redis.call('ZADD', p .. 'running', ARGV[7], id)
return 1
"""

# ARGV: id, state, answer, reason, now, life in ms, expires at. Returns 1 where there was no answer yet.
END = """
local p, id = KEYS[1], ARGV[1]
local job = redis.call('HMGET', p .. id, 'state', 'callback', 'key')
if not job[1] or job[1] == 'done' or job[1] == 'failed' then return 0 end
redis.call('HSET', p .. id, 'state', ARGV[2], 'answer', ARGV[3], 'reason', ARGV[4], 'finished_at', ARGV[5])
redis.call('PEXPIRE', p .. id, ARGV[6])
redis.call('PEXPIRE', p .. 'key:' .. job[3], ARGV[6])
redis.call('ZREM', p .. 'open', id)
redis.call('ZREM', p .. 'running', id)
redis.call('ZADD', p .. (ARGV[2] == 'done' and 'ended' or 'failed'), ARGV[7], id)
if job[2] and job[2] ~= '' then redis.call('ZADD', p .. 'calls', ARGV[5], id) end
return 1
"""

# ARGV: id, state that it must have, state that it gets; 'gone' forgets it
GIVE_BACK = """
local p, id = KEYS[1], ARGV[1]
local job = redis.call('HMGET', p .. id, 'state', 'key')
if job[1] ~= ARGV[2] then return 0 end
redis.call('ZREM', p .. 'running', id)
if ARGV[3] == 'gone' then
  redis.call('ZREM', p .. 'open', id)
  redis.call('DEL', p .. id, p .. 'key:' .. job[2])
else
  redis.call('HSET', p .. id, 'state', ARGV[3])
  if ARGV[2] == 'running' then redis.call('HINCRBY', p .. id, 'tries', -1) end
end
return 1
"""

# ARGV: now, when it is tried again if nobody says how it went
CLAIM_CALL = """
local p = KEYS[1]
while true do
  local id = redis.call('ZRANGEBYSCORE', p .. 'calls', '-inf', ARGV[1], 'LIMIT', 0, 1)[1]
  if not id then return false end
  if redis.call('HEXISTS', p .. id, 'state') == 1 then
    redis.call('ZADD', p .. 'calls', ARGV[2], id)
    redis.call('HINCRBY', p .. id, 'calls', 1)
    return id
  end
  redis.call('ZREM', p .. 'calls', id)
end
"""

# ARGV: now
COUNTS = """
local p = KEYS[1]
local oldest = redis.call('ZRANGE', p .. 'open', 0, 0, 'WITHSCORES')
return {redis.call('ZCARD', p .. 'open'), redis.call('ZCARD', p .. 'running'),
  redis.call('ZCOUNT', p .. 'ended', ARGV[1], '+inf'), redis.call('ZCOUNT', p .. 'failed', ARGV[1], '+inf'),
  redis.call('ZCARD', p .. 'calls'), oldest[2] or ''}
"""
