"""The TLS options of commands that serve and commands that connect."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import UsageError, describe

if TYPE_CHECKING:
    from ssl import SSLContext


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the TLS options of a server."""
    group = parser.add_argument_group("TLS")
    group.add_argument(
        "--tls-cert", metavar="FILE", help="speak TLS with this certificate, and those up to its root (PEM)"
    )
    group.add_argument("--tls-key", metavar="FILE", help="its key (PEM; default: in the file of the certificate)")


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add the TLS options of a client. The certificate of the server is always verified."""
    group = parser.add_argument_group("TLS")
    group.add_argument("--tls", action="store_true", help="speak TLS, and verify the server's certificate")
    group.add_argument("--ca", metavar="FILE", help="trust only these certificates (PEM; default: the system's)")
    group.add_argument("--server-name", metavar="NAME", help="the name in the certificate (default: HOST)")


def of_server(args: argparse.Namespace) -> SSLContext | None:
    """Return the context of a server; None without TLS. Raises UsageError for bad files."""
    if args.tls_cert is None:
        if args.tls_key is not None:
            raise UsageError("--tls-key needs --tls-cert")
        return None
    import ssl

    def password() -> str:
        raise UsageError(f"--tls-key {args.tls_key or args.tls_cert}: the key has a password; give one without")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Nobody needs a second handshake, and it costs the server much; OpenSSL 3 refuses it anyway.
    context.options |= getattr(ssl, "OP_NO_RENEGOTIATION", 0)
    _readable("--tls-cert", args.tls_cert)
    if args.tls_key is not None:
        _readable("--tls-key", args.tls_key)
    try:
        context.load_cert_chain(args.tls_cert, args.tls_key, password)
    except (OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            what = f"--tls-key {args.tls_key or args.tls_cert}: not the key of the certificate"
        else:
            files = f"--tls-cert {args.tls_cert}" + (f" --tls-key {args.tls_key}" if args.tls_key else "")
            what = f"{files}: expected a certificate and its key in PEM"
        raise UsageError(what) from None
    return context


def of_client(args: argparse.Namespace) -> dict[str, Any]:
    """Return the TLS arguments of ``connect``; none without TLS. Raises UsageError for a file without certificates."""
    if not args.tls:
        for option, value in (("--ca", args.ca), ("--server-name", args.server_name)):
            if value is not None:
                raise UsageError(f"{option} needs --tls")
        return {}
    import ssl

    if args.server_name is not None:
        from ..sockets.resolving import checked_host

        try:
            checked_host(args.server_name, "--server-name")
        except ValueError as error:
            raise UsageError(str(error)) from None
    if args.ca is not None:
        _readable("--ca", args.ca)
    try:
        context = ssl.create_default_context(cafile=args.ca)
    except (OSError, ValueError):
        raise UsageError(f"--ca {args.ca}: expected certificates in PEM") from None
    return {"ssl": context, "server_hostname": args.server_name}


def _readable(option: str, path: str) -> None:
    """Raise UsageError with the system's message if a file cannot be read. Errors of ssl do not name the file."""
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        words = describe(error) if isinstance(error, OSError) else f"{path!r}: {error}"
        raise UsageError(f"{option} {words}") from None
