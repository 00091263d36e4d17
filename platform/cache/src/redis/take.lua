-- Takes a token as gcra.rs does, in whole microseconds: below 2^53, so that no digit is lost.
-- KEYS: the bucket, which holds the moment at which it is full again. ARGV: interval, capacity.
-- Answers how long to wait for a token; 0 when one was taken.
local interval, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
local missing = math.min(math.max(full_at - now, 0), capacity) + interval
if missing > capacity then
  return missing - capacity
end
redis.call('SET', KEYS[1], string.format('%.0f', now + missing),
  'PX', string.format('%.0f', math.max(1, math.ceil(missing / 1000))))
return 0
