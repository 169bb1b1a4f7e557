"""Scanning ports.

- ``calls``: the functions that users call; ``options``: how to scan; ``plan``: what an engine is told.
- ``running``: a scan under way; ``remaining``: how long it will take; ``questions``: about one port, for blocking
  callers and for asyncio.
- ``specs``: ports and targets as text; ``files``: lists in files; ``targets``: sets of addresses; ``services``: names
  of ports.
- ``report``: what came of it; ``asked``: what of that was asked; ``formats``, ``nmap_xml``, ``html_page``: written;
  ``showing``: for people; ``reading``: read back; ``sorting``: in order.
- Part by part: ``sharding`` cuts a plan, ``coordinating`` decides who asks which part, ``tasks`` has an executor do it,
  ``shard_runs`` makes one run of it all, ``spreading`` begins that, ``checkpoint`` writes down what is done,
  ``executors``: what is known of them.
"""
