-- Writes a value and returns 1 if its token still exists; otherwise writes nothing and returns 0. The fill is refused if
-- the token was deleted, evicted or flushed, has expired, or belongs to another reader.
-- KEYS: the key, its token. ARGV: the token as the reader got it, the value, its time to live in ms.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
