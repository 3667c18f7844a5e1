-- Returns a stamp, and creates it if it is missing. The time makes each new stamp unique, for the reason given in miss.lua:
-- a script that arrives late must not restore a stamp that was deleted.
-- KEYS: the stamp. ARGV: a nonce.
local stamp = redis.call('GET', KEYS[1])
if not stamp then
  local now = redis.call('TIME')
  stamp = ARGV[1] .. ':' .. now[1] .. ':' .. now[2]
  redis.call('SET', KEYS[1], stamp)
end
return stamp
