-- Who is in which room, for all instances: every change is decided here, at once and by the time of Redis.
--
-- KEYS[1] begins each name. ARGV: the command, the instance that asks, the lease and the time to come
-- back, both in milliseconds; the rest is the command's own. The answer is a list of texts: the
-- generation first, then a line each, as `answers.rs` reads them.
--
--   generation      which life of Redis this is
--   room:ROOM       `revision`, and of each person: the instances they are connected to, or "moving"
--   of:INSTANCE     ROOM/USER of everybody who is connected to an instance
--   leases          until when each instance lives
--   due             until when each ROOM/USER may come back

local prefix, command, me = KEYS[1], ARGV[1], ARGV[2]
local lease_ms, moving_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local FIRST = 5
-- Whatever could be long is done in parts.
local BATCH = 256
-- A room without people is remembered for an hour, so that its revision goes on.
local EMPTY_KEPT_S = 3600

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function text(number)
  return string.format('%.0f', number)
end

local generation = redis.call('GET', prefix .. 'generation')
if not generation then
  generation = time[1] .. '.' .. time[2]
  redis.call('SET', prefix .. 'generation', generation)
end
local answer = { generation }

local function say(...)
  answer[#answer + 1] = table.concat({ ... }, ' ')
end

local function record_of(room, user)
  return redis.call('HGET', prefix .. 'room:' .. room, user) or ''
end

-- Sets where a person is; '' is nowhere.
local function set(room, user, record)
  if record_of(room, user) == record then
    return
  end
  local key, entry = prefix .. 'room:' .. room, room .. '/' .. user
  redis.call('HSETNX', key, 'revision', text(now))
  local revision = redis.call('HINCRBY', key, 'revision', 1)
  if record == '' then
    redis.call('HDEL', key, user)
  else
    redis.call('HSET', key, user, record)
  end
  if record == 'moving' then
    redis.call('ZADD', prefix .. 'due', text(now + moving_ms), entry)
  else
    redis.call('ZREM', prefix .. 'due', entry)
  end
  if redis.call('HLEN', key) > 1 then
    redis.call('PERSIST', key)
  else
    redis.call('EXPIRE', key, EMPTY_KEPT_S)
  end
  say('record', room, user, text(revision), record)
end

-- The instances a record names, but for one; and whether it named that one.
local function others(record, instance)
  local kept, is_named = {}, false
  if record ~= 'moving' then
    for named in string.gmatch(record, '[^,]+') do
      if named == instance then
        is_named = true
      else
        kept[#kept + 1] = named
      end
    end
  end
  return kept, is_named
end

local function renew()
  redis.call('ZADD', prefix .. 'leases', text(now + lease_ms), me)
end

local function declare(room, user, state)
  local before = record_of(room, user)
  local kept, is_named = others(before, me)
  local entries = prefix .. 'of:' .. me
  if state == 'here' then
    redis.call('SADD', entries, room .. '/' .. user)
    if not is_named then
      kept[#kept + 1] = me
      set(room, user, table.concat(kept, ','))
    end
    return
  end
  redis.call('SREM', entries, room .. '/' .. user)
  if #kept > 0 then
    set(room, user, table.concat(kept, ','))
  elseif state == 'lost' then
    set(room, user, 'moving')
  else
    set(room, user, '')
  end
end

-- Takes a part of an instance's people away; those who are connected nowhere else become `record`.
local function clear(instance, record)
  local entries = prefix .. 'of:' .. instance
  for _, entry in ipairs(redis.call('SPOP', entries, BATCH)) do
    local room, user = string.match(entry, '^(.-)/(.*)$')
    local kept, is_named = others(record_of(room, user), instance)
    if is_named then
      set(room, user, #kept > 0 and table.concat(kept, ',') or record)
    end
  end
  if redis.call('EXISTS', entries) == 1 then
    say('more')
  else
    redis.call('ZREM', prefix .. 'leases', instance)
  end
end

local function give_up_due()
  local due = redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf', text(now), 'LIMIT', 0, BATCH)
  for _, entry in ipairs(due) do
    redis.call('ZREM', prefix .. 'due', entry)
    local room, user = string.match(entry, '^(.-)/(.*)$')
    if record_of(room, user) == 'moving' then
      set(room, user, '')
    end
  end
end

local function read(room)
  local people = redis.call('HGETALL', prefix .. 'room:' .. room)
  local revision, lines = '0', {}
  for index = 1, #people, 2 do
    if people[index] == 'revision' then
      revision = people[index + 1]
    else
      lines[#lines + 1] = people[index] .. ' ' .. people[index + 1]
    end
  end
  say('room', room, revision)
  for _, line in ipairs(lines) do
    say('person', room, line)
  end
end

if command == 'declare' then
  renew()
  for index = FIRST, #ARGV, 3 do
    declare(ARGV[index], ARGV[index + 1], ARGV[index + 2])
  end
elseif command == 'tick' then
  local lease = redis.call('ZSCORE', prefix .. 'leases', me)
  if not lease or tonumber(lease) < now then
    say('lapsed')
  end
  renew()
  if ARGV[FIRST] == 'due' then
    give_up_due()
  end
  local expired = redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', '(' .. text(now), 'LIMIT', 0, BATCH)
  for _, instance in ipairs(expired) do
    say('expired', instance)
  end
elseif command == 'bury' then
  local lease = redis.call('ZSCORE', prefix .. 'leases', ARGV[FIRST])
  if lease and tonumber(lease) < now then
    clear(ARGV[FIRST], '')
  end
elseif command == 'release' then
  clear(me, 'moving')
elseif command == 'own' then
  for _, entry in ipairs(redis.call('SMEMBERS', prefix .. 'of:' .. me)) do
    say('own', (string.gsub(entry, '/', ' ')))
  end
elseif command == 'read' then
  for index = FIRST, #ARGV do
    read(ARGV[index])
  end
elseif command == 'revisions' then
  for index = FIRST, #ARGV do
    say('revision', ARGV[index], redis.call('HGET', prefix .. 'room:' .. ARGV[index], 'revision') or '0')
  end
end
return answer
