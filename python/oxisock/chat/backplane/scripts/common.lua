-- What all scripts begin with. The room is: a log (stream), facts (hash: epoch, serial and last: number and id of the
-- newest entry, guests, seen), nodes (sorted set: until when each holds its lease), members (hash: CLIENT@NODE to nick,
-- when and where from), nicks (hash: in lower case, to CLIENT@NODE), read (hash: node to the last serial that it has
-- read), done (hash: node to the number of its last call that changed something, that of its last batch, and the
-- answers). An epoch begins with its number. Arguments: node, epoch, lease in ms, entries to keep, the last serial read,
-- id and serial of the newest entry that the node knows of; then the script's own. All scripts answer: a status, a
-- letter for each item, the last serial, the last id; then their own.
local log, facts, nodes, members, nicks, read, done = unpack(KEYS)
local node, epoch, lease, keep = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', facts, 'epoch', 'serial', 'last', 'seen')
local current, serial, last, seen = known[1], tonumber(known[2] or 0), known[3] or '0-0', tonumber(known[4] or now)
local LONGEST = 250000

-- Each entry has the id of the one before, so that whoever reads knows that nothing is between.
local function add(kind, whose, client, nick, text, when)
  serial = serial + 1
  last = redis.call('XADD', log, '*', 's', serial, 'p', last, 'k', kind, 'n', whose, 'c', client, 'a', nick, 'b', text,
    't', string.format('%.0f', when or now))
end

-- Put down where the log ends. Keep what somebody has still to read, up to a limit, and as much as is wanted.
local function finish()
  local oldest = serial
  for _, at in ipairs(redis.call('HVALS', read)) do oldest = math.min(oldest, tonumber(at)) end
  redis.call('HSET', facts, 'serial', serial, 'last', last)
  redis.call('XTRIM', log, 'MAXLEN', '~', math.min(math.max(keep, serial - oldest + 1), math.max(keep, LONGEST)))
end

-- Whether the log still has what the node knows of. If so all that was before is as the node knows it.
local function intact()
  local id, number = ARGV[6], tonumber(ARGV[7])
  if id == last and number == serial then return true end
  local entry = redis.call('XRANGE', log, id, id)[1]
  return entry ~= nil and tonumber(entry[2][2]) == number
end

-- Whether the node holds its lease. A time in which no node asked was Redis's own absence, and ends nobody's.
local function holds()
  if now - seen > 1500 then
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. string.format('%.0f', seen), '+inf')) do
      redis.call('ZADD', nodes, 'GT', now + lease, other)
    end
  end
  redis.call('HSET', facts, 'seen', now)
  return tonumber(redis.call('ZSCORE', nodes, node) or 0) > now
end

-- Whether the node may act: if so its lease begins anew.
local function look()
  if current ~= epoch then return 'epoch' end
  if not intact() then return 'lost' end
  if not holds() then return 'fenced' end
  redis.call('ZADD', nodes, now + lease, node)
  redis.call('HSET', read, node, ARGV[5])
  return 'ok'
end

-- The number of the node's last call, that of its last batch, and what that was answered.
local function past()
  local call, batch, letters = string.match(redis.call('HGET', done, node) or '', '^(%d+) (%d+) (%a*)$')
  return tonumber(call or 0), batch or '0', letters or ''
end

local function guest()
  local nick
  repeat nick = 'guest-' .. redis.call('HINCRBY', facts, 'guests', 1) until redis.call('HEXISTS', nicks, nick) == 0
  return nick
end

local function nick_of(id)
  local kept = redis.call('HGET', members, id)
  return kept and string.match(kept, '^[^\n]*')
end

local function settle(id, nick, when, where)
  redis.call('HSET', members, id, nick .. '\n' .. string.format('%.0f', when) .. '\n' .. where)
  redis.call('HSET', nicks, string.lower(nick), id)
end

local function rename(id, nick)
  local old, when, where = string.match(redis.call('HGET', members, id), '^([^\n]*)\n(%d+)\n(.*)$')
  redis.call('HDEL', nicks, string.lower(old))
  settle(id, nick, tonumber(when), where)
end

local function forget(id)
  redis.call('HDEL', nicks, string.lower(nick_of(id)))
  redis.call('HDEL', members, id)
end

-- The members of a node leave, but those who stay, in the order of joining.
local function part(whose, why, stay)
  local clients = {}
  for _, id in ipairs(redis.call('HKEYS', members)) do
    local client, at = string.match(id, '^(%d+)@(.*)$')
    if at == whose and not stay[id] then clients[#clients + 1] = tonumber(client) end
  end
  table.sort(clients)
  for _, client in ipairs(clients) do
    client = string.format('%.0f', client)
    forget(client .. '@' .. whose)
    add('leave', whose, client, '', why)
  end
end

local function bury(whose, why)
  part(whose, why, {})
  redis.call('ZREM', nodes, whose)
  redis.call('HDEL', read, whose)
  redis.call('HDEL', done, whose)
end
