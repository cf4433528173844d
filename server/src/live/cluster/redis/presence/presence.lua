-- The people of each room, for all instances. Every change is decided here, atomically and by the time of Redis.
--
-- KEYS[1] begins each key. ARGV: the command, the calling instance, its lease and how long a moving person may take to come
-- back, both in milliseconds, then the command's own arguments. The answer is a list of texts: the generation first, then
-- lines as `script_answer.rs` reads them.
--
--   generation      another one after Redis was emptied
--   room:ROOM       `revision`, and of each person: the instances they are connected to, or "moving"
--   of:INSTANCE     ROOM/USER of each person who is connected to an instance
--   leases          when the lease of each instance ends
--   due             until when each ROOM/USER may come back

local prefix, command, me = KEYS[1], ARGV[1], ARGV[2]
local lease_ms, moving_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local FIRST = 5
-- Entries that one call removes at most; the caller repeats it for the rest.
local BATCH = 256
-- A room without people is kept for an hour, so that its revision goes on.
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

local function reply(...)
  answer[#answer + 1] = table.concat({ ... }, ' ')
end

local function record_of(room, user)
  return redis.call('HGET', prefix .. 'room:' .. room, user) or ''
end

-- Sets the record of a person; '' removes it.
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
  reply('record', room, user, text(revision), record)
end

-- The instances that a record names, without one; and whether it named that one.
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

-- Removes a part of an instance's people. Those who are connected to no other instance get `record`.
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
    reply('more')
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
  reply('room', room, revision)
  for _, line in ipairs(lines) do
    reply('person', room, line)
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
    reply('lapsed')
  end
  renew()
  if ARGV[FIRST] == 'due' then
    give_up_due()
  end
  local expired = redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', '(' .. text(now), 'LIMIT', 0, BATCH)
  for _, instance in ipairs(expired) do
    reply('expired', instance)
  end
elseif command == 'remove_dead' then
  local lease = redis.call('ZSCORE', prefix .. 'leases', ARGV[FIRST])
  if lease and tonumber(lease) < now then
    clear(ARGV[FIRST], '')
  end
elseif command == 'release' then
  clear(me, 'moving')
elseif command == 'own' then
  for _, entry in ipairs(redis.call('SMEMBERS', prefix .. 'of:' .. me)) do
    reply('own', (string.gsub(entry, '/', ' ')))
  end
elseif command == 'read' then
  for index = FIRST, #ARGV do
    read(ARGV[index])
  end
elseif command == 'revisions' then
  for index = FIRST, #ARGV do
    reply('revision', ARGV[index], redis.call('HGET', prefix .. 'room:' .. ARGV[index], 'revision') or '0')
  end
end
return answer
