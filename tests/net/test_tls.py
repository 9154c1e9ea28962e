"""TLS contexts: what they check, and how the server's follows its files."""

from __future__ import annotations

import shutil
import ssl
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConfigError
from proxy.net.tls import ServerTls, client_context
from tests.support.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A pair of files."""
    return make_certificates(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Another pair of files."""
    return make_certificates(tmp_path_factory.mktemp("new"))


@pytest.fixture
def shown(old: Certificates, tmp_path: Path) -> Certificates:
    """A pair of files that a test may replace."""
    shown = Certificates(old.authority, tmp_path / "shown.pem", tmp_path / "shown.key")
    shutil.copy(old.certificate, shown.certificate)
    shutil.copy(old.key, shown.key)
    return shown


def served(files: Certificates) -> ServerTls:
    """Make what is shown to clients."""
    return ServerTls(str(files.certificate), str(files.key))


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> bytes:
    """Let both shake hands in memory; give the DER the client was shown."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = server.wrap_bio(to_server, to_client, server_side=True)
    other = client.wrap_bio(to_client, to_server, server_hostname=name)
    for side in (other, one, other, one, other):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = other.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def der(files: Certificates) -> bytes:
    """Give a certificate as DER."""
    return ssl.PEM_cert_to_DER_cert(files.certificate.read_text())


def test_certificate_shown(old: Certificates) -> None:
    tls = served(old)
    client = client_context("verify-full", str(old.authority))
    assert client is not None
    assert handshake(tls.context, client) == der(old) == tls.certificate_der
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls.reload_if_changed() is None


def test_one_file_for_both(old: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(old.key.read_text() + old.certificate.read_text())
    assert ServerTls(str(both), "").certificate_der == der(old)


def test_reload(shown: Certificates, new: Certificates) -> None:
    tls = served(shown)
    before = tls.context
    shutil.copy(new.key, shown.key)
    half = tls.reload_if_changed()
    assert half is not None
    assert half.startswith("kept the certificate in use: ")
    assert tls.context is before
    assert tls.reload_if_changed() is None, "told once"
    shutil.copy(new.certificate, shown.certificate)
    assert tls.reload_if_changed() == "reloaded"
    assert tls.certificate_der == der(new)
    client = client_context("verify-ca", str(new.authority))
    assert client is not None
    assert handshake(tls.context, client) == der(new)


def test_files_that_go_away(shown: Certificates) -> None:
    tls = served(shown)
    shown.key.unlink()
    told = tls.reload_if_changed()
    assert told is not None
    assert "No such file" in told


@pytest.mark.parametrize("broken", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA"])
def test_unusable_files(shown: Certificates, broken: str) -> None:
    shown.certificate.write_text(broken)
    with pytest.raises(ConfigError, match="tls_cert"):
        served(shown)


def test_a_key_of_another_certificate(old: Certificates, new: Certificates) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        ServerTls(str(old.certificate), str(new.key))


def test_an_encrypted_key_does_not_ask_the_terminal(shown: Certificates) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(shown.key.read_bytes(), None)
    shown.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="cannot be used"):
        served(shown)


# Towards servers.


def test_disable() -> None:
    assert client_context("disable") is None


@pytest.mark.parametrize(
    ("mode", "authority", "name", "accepted"),
    [
        ("prefer", "", "localhost", True),
        ("prefer", "new", "localhost", True),
        ("require", "", "localhost", True),
        ("require", "old", "elsewhere", True),
        ("require", "new", "localhost", False),
        ("verify-ca", "old", "elsewhere", True),
        ("verify-ca", "new", "localhost", False),
        ("verify-ca", "", "localhost", False),
        ("verify-full", "old", "localhost", True),
        ("verify-full", "old", "127.0.0.1", True),
        ("verify-full", "old", "elsewhere", False),
        ("verify-full", "old", "127.0.0.2", False),
        ("verify-full", "new", "localhost", False),
    ],
)
def test_modes(
    old: Certificates, new: Certificates, mode: str, authority: str, name: str, accepted: bool
) -> None:
    files = {"old": str(old.authority), "new": str(new.authority), "": ""}
    client = client_context(mode, files[authority])
    assert client is not None
    server = served(old).context
    if accepted:
        assert handshake(server, client, name) == der(old)
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(server, client, name)


def test_unusable_authorities(tmp_path: Path) -> None:
    for text in (None, "", "nonsense"):
        path = tmp_path / "ca.pem"
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigError, match="tls_ca"):
            client_context("verify-ca", str(path))
