"""Chat: ``server`` is the room, ``client`` somebody in it; ``backplane`` makes one room of many servers."""
