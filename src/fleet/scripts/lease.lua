-- One tick of one replica for one budget in one period: reports what it spent and holds, gives back, asks for more.
-- See src/fleet/mod.rs for the protocol. Amounts are whole 1e-9 USD: a number of Lua is exact up to 2^53.
--
-- KEYS[1]  a hash: gen, state, run, base, doubt (what of the base may count twice), due, ripe, by, until, token, snap,
--          quiet (held by replicas that are silent for long), hungry,
--          and per replica "r:<name>" = "seq have spent settled beat gone"
-- ARGV     1 name, 2 seq, 3 generation known, 4 last seq that was answered, 5 have, 6 spent, 7 settled, 8 want,
--          9 need, 10 limit, 11 alive ms, 12 ripe ms, 13 job ms, 14 reconcile ms, 15 forget ms, 16 life ms
-- Returns  {status, gen, have, left, live, scarce, token, spent by all, now ms, doubt}: doubt may be left beyond left
local key, me = KEYS[1], 'r:' .. ARGV[1]
local function number(at) return tonumber(ARGV[at]) or 0 end
local function text(value) return string.format('%.0f', value) end
local seq, known, acked = number(2), number(3), number(4)
local have, spent, settled = number(5), number(6), number(7)
local want, need, limit = number(8), number(9), number(10)
local alive, ripe_in, job_in, due_in, forget = number(11), number(12), number(13), number(14), number(15)

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- The process that keeps the data. Another one after a failover or a restart may have forgotten the last writes.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''

local meta, others, mine = {}, {}, nil
local raw = redis.call('HGETALL', key)
for at = 1, #raw, 2 do
  local field, value = raw[at], raw[at + 1]
  if string.sub(field, 1, 2) == 'r:' then
    local entry = {}
    for word in string.gmatch(value, '%S+') do entry[#entry + 1] = tonumber(word) end
    if field == me then mine = entry else others[field] = entry end
  else
    meta[field] = value
  end
end
local function at(field) return tonumber(meta[field] or '0') or 0 end

if mine and seq <= mine[1] then
  return {'stale', 0, 0, 0, 0, 0, '', 0, now, 0}
end

local fields = {}
local function put(field, value)
  meta[field] = value
  fields[#fields + 1] = field
  fields[#fields + 1] = value
end

local gen = at('gen')
local forgot = gen == 0 or gen < known or meta.run ~= run or (gen == known and mine and mine[1] < acked)
if forgot then
  gen = math.max(now, known + 1, gen + 1)
  put('gen', text(gen))
  put('state', 'building')
  put('run', run)
  put('ripe', text(now + ripe_in))
  put('until', '0')
  put('token', '')
elseif meta.state == 'open' and not mine and settled > 0 then
  -- The base may hold what it settled: until that is looked at, it counts twice.
  put('due', text(now))
  put('doubt', text(at('doubt') + settled))
end

mine = {seq, have, spent, settled, now, 0}
others[me] = mine

local committed, used, live, snap, doubt, quiet = at('base'), at('base'), 0, 0, at('doubt'), 0
local gone = {}
for field, entry in pairs(others) do
  committed = committed + math.max(entry[2], entry[3])
  used = used + entry[3]
  local silent = now - entry[5]
  if silent < alive then live = live + 1 end
  local held = math.max(math.max(entry[2], entry[3]) - entry[4], 0)
  -- What a replica held that is gone was spent or not. If nobody has read its journal by then, it counts as spent.
  local lately = silent < 12 * alive
  if entry[6] > 0 or (silent >= alive and lately) then doubt = doubt + held end
  -- Who died before a rebuild is as one of whom nothing is left: word of its end may have been forgotten, too.
  local over = entry[6] > 0 or silent >= forget or (silent >= alive and (held == 0 or meta.state == 'building'))
  if over then
    gone[#gone + 1] = field
  else
    snap = snap + entry[4]
    if not lately then quiet = quiet + held end
  end
end

local token = ''
-- A moment further ahead than its own delay is left from before the clock was put back.
local function reached(field, delay) return now >= at(field) or at(field) - now > delay end
local building = meta.state == 'building' and reached('ripe', ripe_in)
local ready = building or (meta.state == 'open' and reached('due', due_in))
if ready and reached('until', job_in) then
  token = text(gen) .. '.' .. ARGV[1] .. '.' .. text(seq)
  put('token', token)
  put('until', text(now + job_in))
  put('snap', text(snap))
  put('quiet', text(quiet))
  put('due_in', text(due_in))
  for _, field in ipairs(gone) do
    local entry = others[field]
    entry[6] = 2
    put(field, table.concat({text(entry[1]), text(entry[2]), text(entry[3]), text(entry[4]), text(entry[5]), '2'}, ' '))
  end
end

local left = 0
if meta.state == 'open' then
  left = math.max(limit - committed, 0)
  local granted = math.min(want, math.floor(left / (2 * live)))
  if granted < need then
    if need <= left then
      granted = need
    else
      put('hungry', text(now + alive))
      -- Something may count twice yet: it is looked at sooner, and soon where that decides.
      local soon = now + (need <= left + doubt and math.floor(alive / 5) or alive)
      if at('due') > soon then put('due', text(soon)) end
    end
  end
  mine[2] = have + granted
  left = left - granted
end

put(me, table.concat({text(mine[1]), text(mine[2]), text(mine[3]), text(mine[4]), text(mine[5]), '0'}, ' '))
redis.call('HSET', key, unpack(fields))
redis.call('PEXPIRE', key, ARGV[16])
local scarce = not reached('hungry', alive) and 1 or 0
return {meta.state, gen, mine[2], left, live, scarce, token, used, now, doubt}
