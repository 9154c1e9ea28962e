"""Secrets in files: read, read again, refused."""

# ruff: noqa: ASYNC240 - the files are the tests' own

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from proxy.credentials.file import MAX_SIZE_BYTES, FileProvider
from proxy.errors import CredentialError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a file with the secret "one"."""
    path = tmp_path / "secret"
    path.write_text("one\n")
    return path


@pytest.mark.parametrize(
    ("data", "secret"),
    [
        (b"one", "one"),
        (b"one\n", "one"),
        (b"one\r\n", "one"),
        (b"one\n\n", "one\n"),
        (b" one ", " one "),
        ("päss".encode(), "päss"),
        (b"x" * MAX_SIZE_BYTES, "x" * MAX_SIZE_BYTES),
    ],
    ids=["plain", "newline", "windows", "two", "spaces", "utf8", "largest"],
)
async def test_one_newline_at_the_end_is_not_the_secret(
    file: Path, data: bytes, secret: str
) -> None:
    file.write_bytes(data)
    assert (await FileProvider(str(file)).fetch("app")).secret == secret


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\xff", "is not UTF-8"),
        (b"hunter2\0", "contains a NUL byte"),
        (b"x" * (MAX_SIZE_BYTES + 1), "is larger than 65536 bytes"),
    ],
    ids=["empty", "newline", "binary", "nul", "large"],
)
async def test_what_is_no_secret_is_refused_and_not_shown(
    file: Path, data: bytes, reason: str
) -> None:
    file.write_bytes(data)
    with pytest.raises(CredentialError, match=reason) as caught:
        await FileProvider(str(file)).fetch("app")
    assert str(file) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match=r"is not a regular file|Is a directory"):
        await FileProvider(str(tmp_path)).fetch("app")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CredentialError, match=r"is not a regular file"):
        await FileProvider(str(tmp_path / "pipe")).fetch("app")
    with pytest.raises(CredentialError, match="cannot be read: No such file"):
        await FileProvider(str(tmp_path / "none")).fetch("app")


@pytest.mark.parametrize("path", ["", "secret", "~/secret", "/a\0b"])
def test_a_path_must_be_absolute(path: str) -> None:
    with pytest.raises(CredentialError, match="must be absolute"):
        FileProvider(path)


async def test_writing_to_the_file_is_a_change(file: Path) -> None:
    provider = FileProvider(str(file))
    await provider.fetch("app")
    assert not provider.changed()
    file.write_text("longer")
    assert provider.changed()
    assert (await provider.fetch("app")).secret == "longer"
    assert not provider.changed()
    stamp = file.stat()
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert provider.changed()


async def test_replacing_what_a_link_leads_to_is_a_change(tmp_path: Path) -> None:
    """Kubernetes replaces secrets so: same size, and perhaps the same time."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(0, 0))
    link = tmp_path / "secret"
    link.symlink_to("one")
    provider = FileProvider(str(link))
    assert (await provider.fetch("app")).secret == "one"
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(link)
    assert provider.changed()
    assert (await provider.fetch("app")).secret == "two"


async def test_a_file_that_goes_and_comes_is_a_change_each_time(file: Path) -> None:
    provider = FileProvider(str(file))
    await provider.fetch("app")
    file.unlink()
    assert provider.changed()
    with pytest.raises(CredentialError):
        await provider.fetch("app")
    assert not provider.changed()
    file.write_text("two")
    assert provider.changed()


def test_it_says_who_may_read_it(file: Path) -> None:
    provider = FileProvider(str(file))
    file.chmod(0o604)
    assert provider.is_world_readable()
    file.chmod(0o640)
    assert not provider.is_world_readable()
    file.unlink()
    assert not provider.is_world_readable()
