"""What an engine offers, which engine is selected, and how a face is bound to it.

- ``scanning``, ``framing``, ``serving``, ``udp``, ``chat``, ``load``: what an engine offers for a concept, as
  Protocols and plain values. ``oxisock.pure.CONCEPT`` (Python) and ``oxisock._native`` (Rust) satisfy them.
- ``selection``: which engine ``OXISOCK_IMPL`` asks for, and whether it can be loaded.
- ``binding``: loads an engine, and binds faces to it.
"""
