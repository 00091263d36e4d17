-- Answers members and values by turns.
local here = {}
for member, value in pairs(values) do
  here[#here + 1] = member
  here[#here + 1] = value
end
return here
