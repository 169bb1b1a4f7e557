"""Chat: ``server`` is the room, ``client`` somebody in it, ``lines`` what a line says; ``backplane`` makes one room of
many servers."""
