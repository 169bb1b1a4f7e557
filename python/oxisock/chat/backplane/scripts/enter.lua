-- A node begins: further arguments are how much history it wants, and those whom it has already, four arguments each
-- (client, nick, where from, when). Gives epoch, serial, last id, members (id and fields in turn), history, newest first.
redis.call('HSETNX', facts, 'epoch', epoch)
epoch = redis.call('HGET', facts, 'epoch')
look()
redis.call('ZADD', nodes, now + lease, node)
for at = 7, #ARGV, 4 do
  local id, nick = ARGV[at] .. '@' .. node, ARGV[at + 1]
  if not nick_of(id) then
    if redis.call('HEXISTS', nicks, string.lower(nick)) == 1 then nick = guest() end
    settle(id, nick, tonumber(ARGV[at + 3]), ARGV[at + 2])
    add('member', node, ARGV[at], nick, ARGV[at + 2])
  end
end
redis.call('HSET', read, node, serial)
trim()
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
local history = tonumber(ARGV[6]) > 0 and redis.call('XREVRANGE', log, '+', '-', 'COUNT', ARGV[6]) or {}
return {epoch, serial, last[1] and last[1][1] or '0-0', redis.call('HGETALL', members), history}
