"""Framing messages.

- ``codecs``: the codecs as values; ``well_known``: presets; ``specs``: codecs as one word of text.
- ``bound``: a codec in an engine, and the inbox that decodes every received stream.
- ``framed_socket``: a socket that speaks in frames; ``explaining``: a drawing of a stream that names its parts.
"""
