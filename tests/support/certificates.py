"""Certificates for the tests of TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .tools import tool


def self_signed(folder: Path) -> Path:
    """Make a certificate for localhost that signs itself; it is in one file with its key."""
    tool("openssl")
    path = folder / "both.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {path} -out {path}.crt"
        f" -addext subjectAltName=DNS:localhost,IP:127.0.0.1 && cat {path}.crt >> {path}",
        shell=True,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path
