"""One room on many nodes: ``machine`` decides, and ``redis`` is the driver that talks with Redis.

``scripts`` has the scripts that run in Redis and order the entries. Each begins with ``common.lua``.
"""
