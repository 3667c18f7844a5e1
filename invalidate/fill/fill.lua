-- Writes a value if its token is still there, and returns 1; else 0. A token that was deleted, evicted, flushed or has
-- expired refuses, as does that of another reader.
-- KEYS: the key, its token. ARGV: the token as the reader got it, the value, its time to live in ms.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
