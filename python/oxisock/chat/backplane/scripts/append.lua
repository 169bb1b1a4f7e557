-- Append a batch, once however often it is asked for: further arguments are the number of the call, and the items, four
-- arguments each (kind, client, nick, text). A letter is o: done, t: the nick is taken, g: whose it is is gone.
local status = look()
if status ~= 'ok' then return {status, '', serial, last} end
local call, _, given = past()
if tonumber(ARGV[8]) <= call then return {'ok', given, serial, last} end

local function item(kind, client, nick, text)
  local id = client .. '@' .. node
  local own = nick_of(id)
  if kind == 'join' then
    if not own then
      nick = guest()
      settle(id, nick, now, text)
      add('join', node, client, nick, text)
    end
  elseif kind == 'cast' then
    add('cast', node, 0, '', text)
  elseif kind == 'kick' then
    local whom = redis.call('HGET', nicks, string.lower(nick))
    if not whom then return 'g' end
    local other, at = string.match(whom, '^(%d+)@(.*)$')
    forget(whom)
    add('kick', at, other, '', text)
  elseif not own then
    return 'g'
  elseif kind == 'nick' then
    local holder = redis.call('HGET', nicks, string.lower(nick))
    if holder and holder ~= id then return 't' end
    rename(id, nick)
    add('nick', node, client, nick, '')
  elseif kind == 'leave' then
    forget(id)
    add('leave', node, client, '', text)
  elseif kind == 'say' then
    add('say', node, client, own, text)
  elseif kind == 'msg' then
    add('msg', node, client, nick, text)
  end
  return 'o'
end

local letters = {}
for at = 9, #ARGV, 4 do
  letters[#letters + 1] = item(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
letters = table.concat(letters)
redis.call('HSET', done, node, ARGV[8] .. ' ' .. ARGV[8] .. ' ' .. letters)
finish()
return {'ok', letters, serial, last}
