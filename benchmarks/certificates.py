"""Certificates with an RSA key, as most of those that authorities sign have."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support.certificates import Certificates

if TYPE_CHECKING:
    from pathlib import Path


def make_rsa_certificate(folder: Path, bits: int = 2048) -> Certificates:
    """Write a certificate for localhost that signs itself, and its key, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "server.pem", folder / "server.key"
    line = f"openssl req -x509 -newkey rsa:{bits} -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*line.split(), *files], check=True, capture_output=True)
    return Certificates(authority=certificate, certificate=certificate, key=key)
