"""``file:/path``: a secret in a file of its own, read again when the file changes.

Suits Docker and Kubernetes secrets (which are replaced by renaming a symbolic link) and systemd's
credentials. One newline at the end is not part of the secret: most editors add it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from typing import Final

from proxy.credentials.base import Credential
from proxy.errors import CredentialError

MAX_SIZE_BYTES: Final = 64 * 1024
"""Size of the file; a larger one is not a secret."""

Stamp = tuple[int, int, int, int]
"""What changes when a file does: modification time, device, inode, size."""


class FileProvider:
    """Reads one file. Raises ``CredentialError`` for a path that is not absolute."""

    def __init__(self, path: str) -> None:
        if not path.startswith("/") or "\0" in path:
            raise CredentialError('file: the path must be absolute, as in "file:/run/secrets/app"')
        self._path = path
        self._stamp: Stamp | None = None

    async def fetch(self, user: str) -> Credential:
        """Read the file, off the event loop. Raises ``CredentialError``."""
        # Before reading: what changes while it is read must count as a change.
        self._stamp = self._look()
        return Credential(await asyncio.to_thread(self._read))

    def changed(self) -> bool:
        """Whether the file is another one, or has been written to, since the last ``fetch``."""
        return self._look() != self._stamp

    def is_world_readable(self) -> bool:
        """Whether every user of the system may read the file."""
        try:
            return bool(os.stat(self._path).st_mode & stat.S_IROTH)
        except OSError:
            return False

    def _look(self) -> Stamp | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_dev, status.st_ino, status.st_size)

    def _read(self) -> str:
        try:
            # O_NONBLOCK: opening a named pipe would wait for a writer.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise self._error("is not a regular file")
                data = file.read(MAX_SIZE_BYTES + 1)
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror or error}") from error
        return self._decode(data)

    def _decode(self, data: bytes) -> str:
        if len(data) > MAX_SIZE_BYTES:
            raise self._error(f"is larger than {MAX_SIZE_BYTES} bytes: not a secret")
        secret = data.removesuffix(b"\n").removesuffix(b"\r")
        if not secret:
            raise self._error("is empty")
        if b"\0" in secret:
            raise self._error("contains a NUL byte")
        try:
            return secret.decode()
        except UnicodeDecodeError:
            # Not chained: the error holds the secret.
            raise self._error("is not UTF-8") from None

    def _error(self, reason: str) -> CredentialError:
        return CredentialError(f"file:{self._path} {reason}")
