-- Ends a job that lease.lua gave to one replica: what the ledger says was spent, read after the job was given.
-- What the replicas had settled when it was given is in the ledger's sum, and counts in their own entries already. What
-- they settled between that and the reading counts twice until the next job: it is no more than they hold beyond it.
--
-- KEYS[1]  the hash of lease.lua
-- ARGV     1 the job's token, 2 the ledger's sum
-- Returns  1 when it counts, 0 when the job is another's by now
local key = KEYS[1]
local meta = redis.call('HMGET', key, 'token', 'snap', 'due_in', 'quiet')
if not meta[1] or meta[1] == '' or meta[1] ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local base = math.max(tonumber(ARGV[2]) - (tonumber(meta[2]) or 0), 0)
local due_in = tonumber(meta[3]) or 0
local held = 0
local raw = redis.call('HGETALL', key)
for at = 1, #raw, 2 do
  if string.sub(raw[at], 1, 2) == 'r:' and string.sub(raw[at + 1], -2) == ' 2' then
    redis.call('HDEL', key, raw[at])
  elseif string.sub(raw[at], 1, 2) == 'r:' then
    local have, spent = string.match(raw[at + 1], '^%S+ (%S+) (%S+)')
    held = held + math.max(tonumber(have) or 0, tonumber(spent) or 0)
    -- It went while the job was done: the next one takes it out.
    if string.sub(raw[at + 1], -2) == ' 1' then due_in = 0 end
  end
end
local doubt = math.max(held - (tonumber(meta[2]) or 0) - (tonumber(meta[4]) or 0), 0)
redis.call('HSET', key, 'base', string.format('%.0f', base), 'doubt', string.format('%.0f', doubt), 'state', 'open', 'token', '', 'until', '0',
  'due', string.format('%.0f', now + due_in))
return 1
