-- A node begins, or begins anew: further arguments are the number of the call, what a new epoch is to be called, how
-- much history the node wants, and who its clients are, four arguments each (client, nick, where from, when). Answers
-- also: the epoch, whether the log has all that the node knew of (1 or 0), the number of the node's last batch, whose
-- letters these are, the members (id and fields in turn), and history, newest first.
-- If Redis lost what the node knew of, those whose it was may have seen what others never will: all nodes begin anew, by
-- a new epoch; and who is on this node is what it says.
local call, batch, letters = past()
if tonumber(ARGV[8]) <= call then return {'late', '', serial, last} end
local whole = intact()
local function number(name) return tonumber(string.match(name or '', '^%d+') or 0) end
if not current or (not whole and number(epoch) >= number(current)) then
  current = math.max(number(epoch), number(current)) + 1 .. ' ' .. ARGV[9]
  redis.call('HSET', facts, 'epoch', current)
end
if not holds() and whole and epoch ~= '' then return {'fenced', '', serial, last} end
redis.call('ZADD', nodes, now + lease, node)
if not whole then
  local stay = {}
  for at = 11, #ARGV, 4 do stay[ARGV[at] .. '@' .. node] = true end
  part(node, 'lost', stay)
  for at = 11, #ARGV, 4 do
    local id, nick, when = ARGV[at] .. '@' .. node, ARGV[at + 1], tonumber(ARGV[at + 3])
    local own, holder = nick_of(id), redis.call('HGET', nicks, string.lower(nick))
    if not own then
      if holder then nick = guest() end
      settle(id, nick, when, ARGV[at + 2])
      add('member', node, ARGV[at], nick, ARGV[at + 2], when)
    elseif own ~= nick and (not holder or holder == id) then
      rename(id, nick)
      add('nick', node, ARGV[at], nick, '')
    end
  end
end
add('node', node, 0, '', '')  -- as long as the log has this, it has this node
redis.call('HSET', read, node, serial)
redis.call('HSET', done, node, ARGV[8] .. ' ' .. batch .. ' ' .. letters)
finish()
local history = tonumber(ARGV[10]) > 0 and redis.call('XREVRANGE', log, '+', '-', 'COUNT', ARGV[10]) or {}
return {'ok', letters, serial, last, current, whole and 1 or 0, batch, redis.call('HGETALL', members), history}
