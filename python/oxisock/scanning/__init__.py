"""Scanning ports.

- ``calls``: the functions that users call; ``options``: their options; ``plan``: the plan for an engine.
- ``running``: a running scan; ``remaining``: its progress and the time left; ``questions``: questions about one port,
  for blocking callers and for asyncio.
- ``specs``: ports and targets as text; ``files``: lists in files; ``targets``: sets of addresses; ``services``: names
  of ports.
- ``report``: the results; ``asked``: which ports were asked; ``formats``, ``nmap_xml`` and ``html_page`` write reports,
  ``showing`` formats them for people, ``reading`` reads them, ``sorting`` orders results.
- Scans in parts: ``sharding`` cuts a plan, ``coordinating`` decides which part is asked when, ``tasks`` runs the parts
  in an executor, ``shard_runs`` combines the parts into one run, ``spreading`` starts it, ``checkpoint`` records
  finished parts, ``executors`` inspects executors.
"""
