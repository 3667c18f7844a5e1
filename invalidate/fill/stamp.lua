-- Returns a stamp, and makes it if it is missing. The time is there for the reason given in miss.lua: no script that
-- arrives late may bring back a stamp that was deleted.
-- KEYS: the stamp. ARGV: a nonce.
local stamp = redis.call('GET', KEYS[1])
if not stamp then
  local now = redis.call('TIME')
  stamp = ARGV[1] .. ':' .. now[1] .. ':' .. now[2]
  redis.call('SET', KEYS[1], stamp)
end
return stamp
