"""Help for testing what is built on oxisock: Hypothesis strategies for streams, and a check for anybody's codec.

The strategies and `check_codec` need Hypothesis (``pip install oxisock[testing]``); it is imported when they are used.
"""

from .codecs import check_codec, chunkings, payloads

__all__ = ["check_codec", "chunkings", "payloads"]
