-- One key's requests and tokens per minute over all replicas. What must be had is had whole or not at all; what is
-- wanted beyond it, for the calls to come, as far as it is there. A negative want gives back.
--
-- KEYS[1]  a hash: used (requests in the bucket), at (us, when that was), minute, tokens (used in that minute)
-- ARGV     1 requests per minute (0: no limit), 2 requests that must be had, 3 requests wanted beyond,
--          4 tokens per minute (0: no limit), 5 tokens that must be had, 6 tokens wanted beyond,
--          7 tokens used already beyond what was had: counted whatever the limit says
--          8 minute that tokens given back were had in
-- Returns  {admitted, requests had, tokens had, requests left, ms until one, tokens left, ms until enough,
--          minute, ms until the bucket is full, ms until the minute ends}; -1 ms: never
local key = KEYS[1]
local rpm, must, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tpm, must_tokens, want_tokens = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local debt, since = tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local minute = math.floor(tonumber(time[1]) / 60)
local kept = redis.call('HMGET', key, 'used', 'at', 'minute', 'tokens')

-- The bucket holds a minute's requests and refills at that rate. A clock that was put back far begins anew.
local used, at = tonumber(kept[1] or '0') or 0, tonumber(kept[2] or '0') or 0
if at - us > 60000000 then at = us end
local rate = rpm / 60000000
used = math.min(math.max(used - math.max(us - at, 0) * rate, 0), math.max(rpm, 0))

-- A minute that has passed pays off its limit of what was used, so that a debt is carried over.
local counted, tokens = tonumber(kept[3] or '0') or 0, tonumber(kept[4] or '0') or 0
if minute > counted then
  tokens = math.max(tokens - tpm * (minute - counted), 0)
elseif counted - minute > 1 then
  counted = minute
end
minute = math.max(minute, counted)
local rest_ms = math.max((minute + 1) * 60000 - math.floor(us / 1000), 1)
if tpm > 0 then tokens = tokens + debt end

local admitted, wait_ms, wait_tokens_ms = 1, 0, 0
local slack = 0.000001
if rpm > 0 and must > 0 and used + must > rpm + slack then
  admitted = 0
  wait_ms = must > rpm and -1 or math.ceil((used + must - rpm) / rate / 1000)
end
if tpm > 0 and must_tokens > 0 and tokens + must_tokens > tpm then
  admitted = 0
  if must_tokens > tpm then
    wait_tokens_ms = -1
  else
    local further = math.ceil((tokens + must_tokens - tpm) / tpm) - 1
    wait_tokens_ms = rest_ms + further * 60000
  end
end

local had, had_tokens = 0, 0
if admitted == 0 then must, must_tokens, want, want_tokens = 0, 0, math.min(want, 0), math.min(want_tokens, 0) end
if rpm > 0 then
  had = must + math.min(want, math.max(math.floor(rpm + slack - used - must), 0))
  used = math.max(used + had, 0)
end
if tpm > 0 then
  if want_tokens < 0 and since ~= minute then want_tokens = 0 end
  had_tokens = must_tokens + math.min(want_tokens, math.max(tpm - tokens - must_tokens, 0))
  tokens = math.max(tokens + had_tokens, 0)
end
redis.call('HSET', key, 'used', string.format('%.17g', used), 'at', string.format('%.0f', math.max(us, at)),
  'minute', string.format('%.0f', minute), 'tokens', string.format('%.0f', tokens))
redis.call('PEXPIRE', key, 3600000)
local full_ms = rpm > 0 and math.ceil(used / rate / 1000) or 0
return {admitted, had, had_tokens, math.max(math.floor(rpm + slack - used), 0), wait_ms, math.max(tpm - tokens, 0),
  wait_tokens_ms, minute, full_ms, rest_ms}
