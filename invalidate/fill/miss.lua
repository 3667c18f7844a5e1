-- Answers a reader that found nothing: the value after all, a token, or that somebody else has the token.
-- KEYS: the key, its token. ARGV: nonce of the reader, lease in ms, how a value has to begin to be valid.
-- A few commands of constant cost in one slot.
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[3]) == ARGV[3] then
  return {'hit', value}
end
-- The time makes the token of each run another one: should the network deliver this script a second time, long after the
-- client sent it again, it takes a token that nobody knows, rather than bringing back one that was deleted.
local now = redis.call('TIME')
local token = ARGV[1] .. ':' .. now[1] .. ':' .. now[2]
if redis.call('SET', KEYS[2], token, 'NX', 'PX', ARGV[2]) then
  return {'fill', token}
end
-- Our own token: the client sent the script again because the reply was lost.
local held = redis.call('GET', KEYS[2])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  return {'fill', held}
end
return {'wait', ''}
