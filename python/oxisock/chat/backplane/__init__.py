"""One room on many nodes: ``machine`` decides, ``redis`` is the driver that carries it to Redis and back.

``scripts`` holds what runs in Redis, where the order is made: ``common.lua`` begins each of the others.
"""
