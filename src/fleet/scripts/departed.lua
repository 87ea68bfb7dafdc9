-- A replica is gone for good and all it ever booked is in the ledger: the next job takes its entries out.
--
-- KEYS[1]  the hash of lease.lua
-- ARGV     1 the replica's boot id; its entries are "r:<boot id>" and "r:<boot id>.<more>"
-- Returns  the number of its entries
local key, found = KEYS[1], 0
local raw = redis.call('HGETALL', key)
for at = 1, #raw, 2 do
  local name = string.match(raw[at], '^r:([^.]+)')
  if name == ARGV[1] then
    found = found + 1
    redis.call('HSET', key, raw[at], (string.gsub(raw[at + 1], ' %d+$', ' 1')))
  end
end
if found > 0 then redis.call('HSET', key, 'due', '0') end
return found
