"""Framing messages.

- ``codecs``: the codecs as values; ``well_known``: presets; ``specs``: codecs as one word of text.
- ``bound``: a codec in an engine, and the inbox that everybody receives through.
- ``framed_socket``: a socket that speaks in frames; ``explaining``: a stream drawn with what its bytes are.
"""
