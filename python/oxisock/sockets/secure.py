"""TLS for clients: a handshake within a deadline, and the check of the server's name."""

from __future__ import annotations

import errno
import selectors
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from .. import arguments
from ..types import Peer
from .addresses import reads_as_address
from .resolving import ascii_name, checked_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ssl import SSLContext

    from .calls import Deadline
    from .secure_socket import SecureSocket

T = TypeVar("T")

# selectors that need no descriptor of their own
Selector: Any = getattr(selectors, "PollSelector", selectors.SelectSelector)


def server_name(context: SSLContext | None, given: str | None, host: str) -> str | None:
    """Check the TLS arguments of a client, and return the name of its server: ``given``, or else the host.

    Raises TypeError if the context is no context or the name is no text. Raises ValueError for a context of servers,
    for a bad name, and for a name without TLS.
    """
    if context is None:
        if given is not None:
            arguments.refuse(ValueError, "server_hostname", given, "None without ssl")
        return None
    arguments.having(context, "ssl", "an ssl.SSLContext", "wrap_socket", "wrap_bio")
    name = host if given is None else checked_host(given, "server_hostname")
    # Convert the name as name servers know it. ssl would follow the standard of 2003, in which it may be another's
    # name.
    name = name.strip("[]").partition("%")[0] if reads_as_address(name) else ascii_name(name)
    _try_out(context, "clients", "CLIENT", server_hostname=name)
    return name


def server_side(context: SSLContext | None) -> SSLContext | None:
    """Check the TLS context of a server. Raises TypeError for no context, and ValueError for a context of clients."""
    if context is None:
        return None
    arguments.having(context, "ssl", "an ssl.SSLContext", "wrap_socket", "wrap_bio")
    _try_out(context, "servers", "SERVER", server_side=True)
    return context


def _try_out(context: SSLContext, whose: str, protocol: str, **options: Any) -> None:
    """Raise ValueError for a context of the other side."""
    import ssl

    from . import secure_socket  # noqa: F401  # import now: later, there may be no free descriptor to read it with

    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), **options)
    except (ssl.SSLError, ValueError):
        expected = f"a context of {whose}, such as ssl.PROTOCOL_TLS_{protocol} makes"
        arguments.refuse(ValueError, "ssl", context, expected)


def accepted(sock: socket.socket, context: SSLContext) -> SecureSocket:
    """Return a new connection of a server as one with TLS, before its handshake. It takes over ``sock``."""
    from .secure_socket import SecureSocket

    return SecureSocket(sock, context, None)


def blocked_on(sock: SecureSocket, call: Callable[[SecureSocket], T], found: list[T]) -> int | None:
    """Make a call that does not block. Add its result to ``found``, or return the event that it waits for."""
    import ssl

    try:
        found.append(call(sock))
    except ssl.SSLWantReadError:
        return selectors.EVENT_READ
    except ssl.SSLWantWriteError:
        return selectors.EVENT_WRITE
    return None


def is_cut(error: BaseException) -> bool:
    """Return whether an error is a cut: the end of a TLS stream without a close_notify. Anybody may have made it."""
    return type(error).__name__ == "SSLEOFError"  # only users of TLS import ssl


def cut_by(error: OSError) -> OSError | None:
    """Return an error of reading from an ssl.SSLSocket as the SSLEOFError of a cut, or None if it is no cut."""
    # Older versions of Python with OpenSSL 3 give it this reason.
    if getattr(error, "reason", None) == "UNEXPECTED_EOF_WHILE_READING" and not is_cut(error):
        import ssl

        return ssl.SSLEOFError(*error.args)
    return error if is_cut(error) else None


def is_end(error: BaseException) -> bool:
    """Return whether an error is the clean end of a TLS stream whose other direction has ended before."""
    return type(error).__name__ == "SSLZeroReturnError"


def secured(
    sock: socket.socket, context: SSLContext, name: str, peer: Peer, deadline: Deadline, timeout: float | None
) -> SecureSocket:
    """Do the handshake on a new connection by the ``deadline`` of a ``timeout``, and return the socket to use.

    The returned socket takes over ``sock``, which is closed if this fails. Raises TimeoutError, ssl.SSLError
    (ssl.SSLCertVerificationError included) and OSError, with host and port in the message.
    """
    from .secure_socket import SecureSocket

    try:
        with shaking(peer, timeout):
            sock.settimeout(0)
            sock = tls = SecureSocket(sock, context, name)
            while (event := blocked_on(tls, SecureSocket.do_handshake, [])) is not None:
                with Selector() as selector:
                    selector.register(tls, event)
                    if not selector.select(deadline.check()):
                        raise TimeoutError("timed out")
            return tls
    except BaseException:
        sock.close()
        raise


@contextmanager
def shaking(peer: Peer, timeout: float | None) -> Iterator[None]:
    """Add the peer and the timeout to the error, if the handshake fails."""
    try:
        yield
    except TimeoutError as error:
        raise TimeoutError(errno.ETIMEDOUT, f"{peer}: no TLS handshake within {timeout:g} s") from error
    except OSError as error:
        error.strerror = f"{peer}: {error.strerror or error}"
        raise
