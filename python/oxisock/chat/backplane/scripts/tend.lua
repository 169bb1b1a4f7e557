-- Hold the lease, and end the nodes whose lease is over. Gives a status, and the serial.
local status = look()
if status == 'ok' then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now)) do finish(other, 'lost') end
  trim()
end
return {status, '', serial}
