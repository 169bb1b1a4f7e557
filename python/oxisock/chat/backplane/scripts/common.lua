-- What all scripts begin with. The room is: a log (stream), facts (hash: epoch, serial, guests, seen), nodes (sorted
-- set: until when each holds its lease), members (hash: CLIENT@NODE to nick, when and where from), nicks (hash: in
-- lower case, to CLIENT@NODE), read (hash: node to the last serial that it has read), done (hash: node to its last
-- batch and the answers). Arguments: node, epoch, lease in ms, last serial read, entries to keep; then the script's own.
local log, facts, nodes, members, nicks, read, done = unpack(KEYS)
local node, epoch, lease, keep = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local serial = tonumber(redis.call('HGET', facts, 'serial') or 0)
local LONGEST = 250000

local function add(kind, whose, client, nick, text)
  serial = serial + 1
  redis.call('XADD', log, '*', 's', serial, 'k', kind, 'n', whose, 'c', client, 'a', nick, 'b', text, 't', now)
end

-- Keep what somebody has still to read, up to a limit, and as many as are wanted.
local function trim()
  local oldest = serial
  for _, at in ipairs(redis.call('HVALS', read)) do oldest = math.min(oldest, tonumber(at)) end
  redis.call('HSET', facts, 'serial', serial)
  redis.call('XTRIM', log, 'MAXLEN', '~', math.min(math.max(keep, serial - oldest + 1), math.max(keep, LONGEST)))
end

-- Whether the node may act. A time in which no node asked was Redis's own absence, and ends nobody's lease.
local function look()
  if redis.call('HGET', facts, 'epoch') ~= epoch then return 'epoch' end
  local seen = tonumber(redis.call('HGET', facts, 'seen') or 0)
  if seen > 0 and now - seen > 1500 then
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. string.format('%.0f', seen), '+inf')) do
      redis.call('ZADD', nodes, 'GT', now + lease, other)
    end
  end
  redis.call('HSET', facts, 'seen', now)
  if tonumber(redis.call('ZSCORE', nodes, node) or 0) <= now then return 'fenced' end
  redis.call('ZADD', nodes, now + lease, node)
  redis.call('HSET', read, node, ARGV[4])
  return 'ok'
end

local function guest()
  return 'guest-' .. redis.call('HINCRBY', facts, 'guests', 1)
end

local function nick_of(id)
  local kept = redis.call('HGET', members, id)
  return kept and string.match(kept, '^[^\n]*')
end

local function settle(id, nick, when, where)
  redis.call('HSET', members, id, nick .. '\n' .. string.format('%.0f', when) .. '\n' .. where)
  redis.call('HSET', nicks, string.lower(nick), id)
end

local function forget(id)
  redis.call('HDEL', nicks, string.lower(nick_of(id)))
  redis.call('HDEL', members, id)
end

-- All members of a node leave, in the order of joining.
local function finish(whose, why)
  local clients = {}
  for _, id in ipairs(redis.call('HKEYS', members)) do
    local client, at = string.match(id, '^(%d+)@(.*)$')
    if at == whose then clients[#clients + 1] = tonumber(client) end
  end
  table.sort(clients)
  for _, client in ipairs(clients) do
    client = string.format('%.0f', client)
    forget(client .. '@' .. whose)
    add('leave', whose, client, '', why)
  end
  redis.call('ZREM', nodes, whose)
  redis.call('HDEL', read, whose)
  redis.call('HDEL', done, whose)
end
