"""TLS for those who connect: a handshake within a deadline, and the name that the certificate has to bear."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from .. import arguments
from ..types import Peer
from .addresses import reads_as_address
from .resolving import ascii_name

if TYPE_CHECKING:
    from ssl import SSLContext, SSLSocket


def server_name(context: SSLContext | None, given: str | None, host: str) -> str | None:
    """Check what a client is told of TLS, and give the name of its server: the one given, else the host.

    Raises TypeError for what is no context or no text, ValueError for a name where there is no TLS, or that is none.
    """
    if context is None:
        if given is not None:
            arguments.refuse(ValueError, "server_hostname", given, "None without ssl")
        return None
    arguments.having(context, "ssl", "an ssl.SSLContext", "wrap_socket", "wrap_bio")
    name = host if given is None else arguments.host(given, "server_hostname")
    # As name servers know it: ssl itself would read it by the standard of 2003, by which it may be another's.
    return name.strip("[]").partition("%")[0] if reads_as_address(name) else ascii_name(name)


def secured(
    sock: socket.socket, context: SSLContext, name: str | None, peer: Peer, left: float | None, timeout: float | None
) -> SSLSocket:
    """Shake hands on a fresh connection within ``left`` seconds of the ``timeout``, and give the socket to go on with.

    The socket that is given belongs to it, and is closed where that fails. Raises TimeoutError, ssl.SSLError
    (ssl.SSLCertVerificationError among them) and OSError, with host and port in their words.
    """
    try:
        sock.settimeout(left)
        return context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)
    except TimeoutError as error:
        sock.close()
        raise TimeoutError(errno.ETIMEDOUT, f"{peer}: no TLS handshake within {timeout:g} s") from error
    except OSError as error:
        sock.close()
        error.strerror = f"{peer}: {error.strerror or error}"
        raise
    except BaseException:
        sock.close()
        raise
