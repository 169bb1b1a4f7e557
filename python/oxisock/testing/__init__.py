"""Help for testing what is built on oxisock, and with it: statements about ports, a server that misbehaves, Hypothesis
strategies for streams, and a check for anybody's codec.

The strategies and `check_codec` need Hypothesis (``pip install oxisock[testing]``); it is imported when they are used.
The fixtures for pytest are in the package ``pytest_oxisock``.

``servers`` has what is said of ports and the server, ``codecs`` the strategies and the check; ``checks`` is what it
tries beside them, ``subject`` the codec that is checked.
"""

from .codecs import check_codec, chunkings, payloads
from .servers import FaultyServer, assert_ports

__all__ = ["FaultyServer", "assert_ports", "check_codec", "chunkings", "payloads"]
