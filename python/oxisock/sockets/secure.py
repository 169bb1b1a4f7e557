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

# Of those that take no descriptor.
Selector: Any = getattr(selectors, "PollSelector", selectors.SelectSelector)


def server_name(context: SSLContext | None, given: str | None, host: str) -> str | None:
    """Check what a client is told of TLS, and give the name of its server: the one given, else the host.

    Raises TypeError for what is no context or no text, ValueError for a context of servers, for a name that is none,
    and for one where there is no TLS.
    """
    if context is None:
        if given is not None:
            arguments.refuse(ValueError, "server_hostname", given, "None without ssl")
        return None
    arguments.having(context, "ssl", "an ssl.SSLContext", "wrap_socket", "wrap_bio")
    name = host if given is None else checked_host(given, "server_hostname")
    # As name servers know it: ssl itself would read it by the standard of 2003, by which it may be another's.
    name = name.strip("[]").partition("%")[0] if reads_as_address(name) else ascii_name(name)
    _try_out(context, "clients", "CLIENT", server_hostname=name)
    return name


def server_side(context: SSLContext | None) -> SSLContext | None:
    """Check what a server is told of TLS; raise TypeError for what is no context, ValueError for one of clients."""
    if context is None:
        return None
    arguments.having(context, "ssl", "an ssl.SSLContext", "wrap_socket", "wrap_bio")
    _try_out(context, "servers", "SERVER", server_side=True)
    return context


def _try_out(context: SSLContext, whose: str, protocol: str, **options: Any) -> None:
    """Raise ValueError for the context of the other side."""
    import ssl

    from . import secure_socket  # noqa: F401  # now, for later there may be no descriptor to read it with

    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), **options)
    except (ssl.SSLError, ValueError):
        expected = f"a context of {whose}, such as ssl.PROTOCOL_TLS_{protocol} makes"
        arguments.refuse(ValueError, "ssl", context, expected)


def accepted(sock: socket.socket, context: SSLContext) -> SecureSocket:
    """Give a fresh connection of a server as one with TLS, whose hands are yet to be shaken; it takes ``sock`` over."""
    from .secure_socket import SecureSocket

    return SecureSocket(sock, context, None)


def blocked_on(sock: SecureSocket, call: Callable[[SecureSocket], T], found: list[T]) -> int | None:
    """Do a call that does not block; add what it gives to ``found``, or say for which event of a selector it waits."""
    import ssl

    try:
        found.append(call(sock))
    except ssl.SSLWantReadError:
        return selectors.EVENT_READ
    except ssl.SSLWantWriteError:
        return selectors.EVENT_WRITE
    return None


def is_cut(error: BaseException) -> bool:
    """Say whether an error is the end of a TLS stream that its peer did not make: anybody may have made it."""
    return type(error).__name__ == "SSLEOFError"  # ssl is imported only by those who use it


def cut_by(error: OSError) -> OSError | None:
    """Give what reading from an ssl.SSLSocket raised as the SSLEOFError of a cut, if it is one."""
    # So it is named by older versions of Python with OpenSSL 3.
    if getattr(error, "reason", None) == "UNEXPECTED_EOF_WHILE_READING" and not is_cut(error):
        import ssl

        return ssl.SSLEOFError(*error.args)
    return error if is_cut(error) else None


def is_end(error: BaseException) -> bool:
    """Say whether an error is the clean end of a TLS stream whose other direction has ended before."""
    return type(error).__name__ == "SSLZeroReturnError"


def secured(
    sock: socket.socket, context: SSLContext, name: str, peer: Peer, deadline: Deadline, timeout: float | None
) -> SecureSocket:
    """Shake hands on a fresh connection by the ``deadline`` of a ``timeout``, and give the socket to go on with.

    The socket that is given belongs to it, and is closed where that fails. Raises TimeoutError, ssl.SSLError
    (ssl.SSLCertVerificationError among them) and OSError, with host and port in their words.
    """
    from .secure_socket import SecureSocket

    try:
        with shaking(peer, timeout):
            sock.settimeout(0)
            sock = tls = SecureSocket(sock, context, name)
            while (event := blocked_on(tls, SecureSocket.do_handshake, [])) is not None:
                with Selector() as selector:
                    selector.register(tls, event)
                    if not selector.select(deadline.left()):
                        raise TimeoutError("timed out")
            return tls
    except BaseException:
        sock.close()
        raise


@contextmanager
def shaking(peer: Peer, timeout: float | None) -> Iterator[None]:
    """Say with whom, and within how many seconds, no hands were shaken."""
    try:
        yield
    except TimeoutError as error:
        raise TimeoutError(errno.ETIMEDOUT, f"{peer}: no TLS handshake within {timeout:g} s") from error
    except OSError as error:
        error.strerror = f"{peer}: {error.strerror or error}"
        raise
