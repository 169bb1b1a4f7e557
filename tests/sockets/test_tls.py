"""One TLS connection as a machine: what it holds, and that pieces of any size say the same."""

from __future__ import annotations

import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from oxisock.sockets import secure
from oxisock.sockets.tls import Session
from support.resources import resident

MIB = 1 << 20


def pair(certificate: Path) -> tuple[Session, Session]:
    """Give the two ends of a connection whose handshake is done."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    client, server = Session(ssl.create_default_context(cafile=str(certificate)), "localhost"), Session(context)
    client.received(b"")
    while not (client.begun and server.begun):
        server.received(client.unsent())
        client.received(server.unsent())
    return client, server


@pytest.mark.parametrize("size", [0, 1, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, MIB])
def test_a_whole_and_its_bytes_say_the_same(certificate: Path, size: int) -> None:
    client, server = pair(certificate)
    said = bytes(range(256)) * (size // 256) + bytes(size % 256)
    wire = client.sealed(said)
    assert server.received(wire) == said
    assert client.received(server.sealed(said)) == said
    wire = client.sealed(said[:5000]) + client.last_word()
    assert b"".join(server.received(wire[at : at + 1]) for at in range(len(wire))) == said[:5000]
    assert (server.over, server.fault) == (True, None)


def test_what_comes_after_the_end_is_nothing(certificate: Path) -> None:
    client, server = pair(certificate)
    assert server.received(client.sealed(b"all") + client.last_word() + bytes(100_000)) == b"all"
    assert (server.over, server.fault) == (True, None)


def test_a_handshake_may_be_longer_than_what_says_nothing(certificate: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    path = tmp_path / "client.pem"
    names = (f"{number:04}.{'long' * 8}.example" for number in range(1_600))
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    of_server.load_cert_chain(certificate)
    of_server.verify_mode, of_server.num_tickets = ssl.CERT_REQUIRED, 0  # a ticket has no room for it
    authority.configure_trust(of_server)
    of_client = ssl.create_default_context(cafile=str(certificate))
    of_client.load_cert_chain(path)
    client, server = Session(of_client, "localhost"), Session(of_server)
    client.received(b"")
    while not server.begun:
        wire = client.unsent()
        assert server.received(wire) == b""
        assert server.fault is None
        client.received(server.unsent())
    assert len(wire) > 1 << 16
    assert server.received(client.sealed(b"hello")) == b"hello"


def test_a_certificate_that_cannot_be_read_whole_costs_nobody_else(certificate: Path, tmp_path: Path) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=localhost")
    begin = datetime.now(UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=3))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    # Where its authority can be asked about it: no ASN.1 at all.
    torn = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.1"), b"\0")
    issued = builder.add_extension(torn, critical=False).sign(key, hashes.SHA256())
    path = tmp_path / "torn.pem"
    words = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(words + issued.public_bytes(Encoding.PEM))
    client, server = pair(path)
    other, others = pair(certificate)
    found = client.certificate()
    assert found is not None
    assert found["subject"] == ((("commonName", "localhost"),),)
    for said, end in ((server, client), (others, other)):
        wire = said.sealed(b"hello")
        assert end.received(wire[:7]) + end.received(wire[7:]) == b"hello"
        assert end.fault is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds")
def test_a_connection_that_once_moved_much_keeps_little(certificate: Path) -> None:
    kept = [pair(certificate)]
    client, server = kept[0]
    assert len(server.received(client.sealed(bytes(MIB)))) == MIB
    before = resident()
    for _ in range(40):
        client, server = pair(certificate)
        assert len(server.received(client.sealed(bytes(MIB)))) == MIB
        kept.append((client, server))
    assert resident() - before < 24 * MIB


def test_a_cut_has_one_name_whatever_python_calls_it() -> None:
    older = ssl.SSLError(1, "unexpected eof while reading")
    older.reason = "UNEXPECTED_EOF_WHILE_READING"
    newer = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
    assert type(secure.cut_by(older)) is ssl.SSLEOFError
    assert secure.cut_by(newer) is newer
    assert secure.cut_by(ssl.SSLError(1, "bad record mac")) is None
    assert secure.cut_by(ConnectionResetError(104, "Connection reset by peer")) is None
