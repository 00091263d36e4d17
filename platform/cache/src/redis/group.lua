-- A group is a hash of its members: '<end in microseconds>:<value>'. Members whose end is over are none.
local ends, values, count = {}, {}, 0
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local colon = string.find(entries[i + 1], ':', 1, true)
  local at = tonumber(string.sub(entries[i + 1], 1, colon - 1))
  if at > now then
    ends[entries[i]], values[entries[i]] = at, string.sub(entries[i + 1], colon + 1)
    count = count + 1
  end
end

local function leave(member)
  if ends[member] then
    redis.call('HDEL', KEYS[1], member)
    ends[member], count = nil, count - 1
  end
end

-- Removes what is over, and has the whole group end with its last member.
local function settle()
  local last = 0
  for i = 1, #entries, 2 do
    if not values[entries[i]] then
      redis.call('HDEL', KEYS[1], entries[i])
    end
  end
  for _, at in pairs(ends) do
    last = math.max(last, at)
  end
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.ceil(last / 1000)))
  return count
end
