"""Help for tests with oxisock: assertions about ports, a server that misbehaves, Hypothesis strategies for streams, and
a check for your own codec.

The strategies and `check_codec` need Hypothesis (``pip install oxisock[testing]``); it is imported when they are used.
The fixtures for pytest are in the package ``pytest_oxisock``.

``servers`` has the assertions and the server, ``codecs`` has the strategies and the check. ``checks`` has the parts of
the check that do not use Hypothesis, and ``subject`` is the codec that is checked.
"""

from .codecs import check_codec, chunkings, payloads
from .servers import FaultyServer, assert_ports

__all__ = ["FaultyServer", "assert_ports", "check_codec", "chunkings", "payloads"]
