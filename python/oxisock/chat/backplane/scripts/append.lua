-- Append a batch, once however often it is asked for: further arguments are the number of the batch, and its items, four
-- arguments each (kind, client, nick, text). Gives a status, a letter for each item (o: done, t: the nick is taken, g:
-- whose it is is gone), and the serial.
local status = look()
if status ~= 'ok' then return {status, '', serial} end
local batch, before, answers = tonumber(ARGV[6]), redis.call('HGET', done, node), {}
if before then
  local number, given = string.match(before, '^(%d+) (%a*)$')
  if batch <= tonumber(number) then return {'ok', given, serial} end
end

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
    local when, where = string.match(redis.call('HGET', members, id), '^[^\n]*\n(%d+)\n(.*)$')
    redis.call('HDEL', nicks, string.lower(own))
    settle(id, nick, tonumber(when), where)
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

for at = 7, #ARGV, 4 do
  answers[#answers + 1] = item(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
answers = table.concat(answers)
redis.call('HSET', done, node, ARGV[6] .. ' ' .. answers)
trim()
return {'ok', answers, serial}
