"""TLS contexts for both sides; the server's is made anew when its files change."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from proxy.errors import ConfigError

_PEM_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_PEM_END: Final = "-----END CERTIFICATE-----"

Stamp = tuple[int, int, int]
"""What changes when a file does: modification time, inode, size."""


class ServerTls:
    """What we show to clients: a context made from two PEM files, TLS 1.2 and later.

    Contexts in use stay as they are; ``context`` is the one for new handshakes. Raises
    ``ConfigError`` if the files cannot be used.
    """

    def __init__(self, certificate: str, key: str) -> None:
        self._certificate = Path(certificate)
        self._key = Path(key or certificate)
        self._stamps = self._look()
        self.context: ssl.SSLContext
        self.certificate_der: bytes
        """The certificate shown, for channel binding."""
        self.context, self.certificate_der = self._load()

    def reload_if_changed(self) -> str | None:
        """Load the files again if one changed; say how that went, ``None`` if neither changed.

        A pair that cannot be used, such as a half-written one, leaves the old context in place and
        is looked at again when a file changes once more.
        """
        stamps = self._look()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        try:
            self.context, self.certificate_der = self._load()
        except ConfigError as error:
            return f"kept the certificate in use: {error}"
        return "reloaded"

    def _look(self) -> tuple[Stamp, Stamp]:
        return _stamp(self._certificate), _stamp(self._key)

    def _load(self) -> tuple[ssl.SSLContext, bytes]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        try:
            der = _first_certificate(self._certificate.read_text())
            # Without a password OpenSSL would ask on the terminal for an encrypted key's.
            context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"tls_cert {self._certificate} and tls_key {self._key} cannot be used: {reason}"
            ) from error
        if self._look() != self._stamps:
            raise ConfigError(f"tls_cert {self._certificate} changed while it was read")
        return context, der


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def _first_certificate(pem: str) -> bytes:
    """Decode the first certificate, which is the one shown. Raises ``ValueError``."""
    start = pem.index(_PEM_BEGIN)
    end = pem.index(_PEM_END, start) + len(_PEM_END)
    return ssl.PEM_cert_to_DER_cert(pem[start:end])


def client_context(mode: str, authorities: str = "") -> ssl.SSLContext | None:
    """Make the context for connections to a server; ``None`` for ``disable``.

    ``mode`` is libpq's ``sslmode``: ``prefer`` and ``require`` check nothing, ``verify-ca`` checks
    who signed the certificate, ``verify-full`` also the host name. As in libpq, ``require`` with
    ``authorities`` (a PEM file) checks like ``verify-ca``. Without them the system's count. Raises
    ``ConfigError``.
    """
    if mode == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = mode == "verify-full"
    if mode == "prefer" or (mode == "require" and not authorities):
        context.verify_mode = ssl.CERT_NONE
        return context
    if not authorities:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(authorities)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"tls_ca {authorities} cannot be used: {reason}") from error
    return context
