"""Chat: ``server`` is the room, ``client`` somebody in it."""
