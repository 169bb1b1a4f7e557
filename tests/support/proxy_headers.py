"""PROXY headers as proxies write them, some of them torn."""

from __future__ import annotations

import socket
import struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LINE = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"


def binary(command: int, family: int, addresses: bytes, tlvs: bytes = b"", version: int = 2) -> bytes:
    rest = addresses + tlvs
    return SIGNATURE + bytes([version << 4 | command, family]) + struct.pack("!H", len(rest)) + rest


def v4(host: str = "192.0.2.7", port: int = 4242) -> bytes:
    return socket.inet_aton(host) + socket.inet_aton("10.0.0.1") + struct.pack("!HH", port, 80)


def v6(host: str = "2001:db8::7", port: int = 4242) -> bytes:
    six = [socket.inet_pton(socket.AF_INET6, each) for each in (host, "2001:db8::1")]
    return b"".join(six) + struct.pack("!HH", port, 80)


GOOD = [
    # The examples of the specification.
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
    (
        b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(
            b"f...f", b"ffff:ffff:ffff:ffff:ffff:ffff"
        ),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    (b"PROXY UNKNOWN\r\n", None),
    (
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(
            b"f...f", b"ffff:ffff:ffff:ffff:ffff:ffff"
        ),
        None,
    ),
    (LINE, ("192.168.0.1", 56324)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 0\r\n", ("2001:db8::7", 1)),
    # Of HAProxy, where it listens for IPv4 and IPv6 at once.
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 4242 80\r\n", ("::ffff:192.0.2.7", 4242)),
    (binary(1, 0x21, v6("::ffff:192.0.2.7")), ("::ffff:192.0.2.7", 4242)),
    (binary(1, 0x11, v4()), ("192.0.2.7", 4242)),
    (binary(1, 0x12, v4()), ("192.0.2.7", 4242)),
    (binary(1, 0x21, v6()), ("2001:db8::7", 4242)),
    (binary(1, 0x11, v4(), b"\x04\x00\x03abc" * 2726), ("192.0.2.7", 4242)),  # TLVs, 16,384 bytes in all
    (binary(0, 0x00, b""), None),  # LOCAL
    (binary(0, 0x11, v4()), None),
    (binary(1, 0x00, b"anything"), None),  # UNSPEC
    (binary(1, 0x31, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")), None),  # Unix
]

BAD = [
    (b"GET / HTTP/1.1\r\n", "no PROXY header"),
    (b"PROXIES", "no PROXY header"),
    (SIGNATURE[:11] + b"!", "no PROXY header"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n", "torn"),
    (b"PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 080 443\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n", "torn"),
    (b"PROXY TCP4 ::1 ::1 1 443\r\n", "torn"),
    (b"PROXY TCP6 192.168.0.1 192.168.0.11 1 443\r\n", "torn"),
    (b"PROXY TCP6 ::ffff:1.2.3.04 ::1 1 443\r\n", "torn"),
    (b"PROXY TCP6 ::ffff:1.2.3 ::1 1 443\r\n", "torn"),
    (b"PROXY TCP6 fe80::1%lo ::1 1 443\r\n", "torn"),
    (b"PROXY UDP4 192.168.0.1 192.168.0.11 1 443\r\n", "torn"),
    (b"PROXY \r\n", "torn"),
    (b"PROXY UNKNOWN " + b"x" * 93, "longer than 107"),
    (binary(1, 0x11, v4()[:11]), "torn"),
    (binary(1, 0x21, v4()), "torn"),
    (binary(1, 0x31, v4()), "torn"),
    (binary(1, 0x11, v4(), version=3), "unknown version"),
    (binary(2, 0x11, v4()), "command"),
    (binary(1, 0x41, v4()), "protocol"),
    (binary(1, 0x13, v4()), "protocol"),
    (binary(1, 0x11, v4(), bytes(65_000)), "longer than 16384"),
]
