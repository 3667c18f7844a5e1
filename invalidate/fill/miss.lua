-- Answers a reader that missed a key. The reply has two words: 'hit' and the value, if another reader has filled it by now;
-- 'fill' and the token, if the reader may fill; 'wait' and '', if another reader has the token.
-- KEYS: the key, its token. ARGV: nonce of the reader, lease in ms, prefix that a value must have to be valid.
-- At most four commands of constant cost, in one slot.
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[3]) == ARGV[3] then
  return {'hit', value}
end
-- The time makes the token of each run unique. If the network delivers this script a second time, long after the client
-- has sent it again, that run takes a token that no reader knows; it must not restore a token that was deleted.
local now = redis.call('TIME')
local token = ARGV[1] .. ':' .. now[1] .. ':' .. now[2]
if redis.call('SET', KEYS[2], token, 'NX', 'PX', ARGV[2]) then
  return {'fill', token}
end
-- The reader has the token already: the client sent the script again because the reply was lost.
local held = redis.call('GET', KEYS[2])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  return {'fill', held}
end
return {'wait', ''}
