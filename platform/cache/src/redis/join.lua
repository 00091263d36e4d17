-- ARGV: member, value, time to live in milliseconds, the most members. Answers how many there are.
local member = ARGV[1]
leave(member)
if count >= tonumber(ARGV[4]) then
  local first
  for other, at in pairs(ends) do
    if not first or at < ends[first] then
      first = other
    end
  end
  leave(first)
end
ends[member], values[member], count = now + ARGV[3] * 1000, ARGV[2], count + 1
redis.call('HSET', KEYS[1], member, string.format('%.0f:', ends[member]) .. ARGV[2])
return settle()
