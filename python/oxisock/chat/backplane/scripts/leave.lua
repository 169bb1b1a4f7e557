-- The node ends of its own will. Gives a status, and the serial.
if redis.call('HGET', facts, 'epoch') == epoch and redis.call('ZSCORE', nodes, node) then
  finish(node, 'closing')
  trim()
end
return {'ok', '', serial}
