"""Chat: ``server`` is a room, ``client`` a member, ``lines`` parses lines, ``backplane`` shares a room."""
