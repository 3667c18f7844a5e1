-- Deletes a token if it still belongs to the caller, so that the next reader need not wait for the end of the lease.
-- KEYS: the token. ARGV: the token as the reader got it.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
