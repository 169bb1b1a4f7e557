"""What an engine offers, as Protocols, concept by concept.

An engine is a set of modules, one for each concept, that satisfy the Protocols here: ``oxisock.pure.*`` in Python and
``oxisock._native`` in Rust. Faces know engines only through these.
"""
