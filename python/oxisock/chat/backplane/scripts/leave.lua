-- The node ends of its own will.
if current == epoch and redis.call('ZSCORE', nodes, node) then
  bury(node, 'closing')
  finish()
end
return {'ok', '', serial, last}
