-- Hold the lease, and end the nodes whose lease is over.
local status = look()
if status == 'ok' then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now)) do bury(other, 'lost') end
  finish()
end
return {status, '', serial, last}
