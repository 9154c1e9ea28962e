"""The tree of exceptions: as drawn, and complete in what a client is told."""

from __future__ import annotations

import inspect
import re

import pytest

from proxy import errors

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, errors.ProxyError)
]


def drawn() -> dict[str, str]:
    """Read the module's drawing: class name to the name of its parent."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^    ([ │├└─]*)([A-Z]\w+)( |$)", line)
        if match is None:
            continue
        depth = len(match[1])
        above = [(level, name) for level, name in above if level < depth]
        parents[match[2]] = above[-1][1] if above else "Exception"
        above.append((depth, match[2]))
    return parents


def test_the_drawing_is_true() -> None:
    assert drawn() == {found.__name__: found.__bases__[0].__name__ for found in CLASSES}


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_each_tells_a_client_a_code(found: type[errors.ProxyError]) -> None:
    assert re.fullmatch(r"[0-9A-Z]{5}", found.sqlstate)
    assert 1000 <= found.mysql_errno <= 5000
    # A client's own numbers: MariaDB's library takes an ERR packet with one for a malformed packet.
    assert not 2000 <= found.mysql_errno < 3000


def test_detail_is_not_part_of_the_message() -> None:
    error = errors.ConnectFailed("no connection", detail="10.0.0.7 refused")
    assert str(error) == "no connection"
    assert error.detail == "10.0.0.7 refused"


@pytest.mark.parametrize(
    ("code", "definitive"),
    [("28P01", True), ("28000", True), ("3D000", True), ("53300", False), ("57P03", False)],
)
def test_definitive_refusals(code: str, definitive: bool) -> None:
    refusal = errors.ServerRefused("refused", response=b"E\0\0\0\x05\0", code=code)
    assert refusal.definitive == definitive
    assert refusal.secret_rejected == (code == "28P01")


@pytest.mark.parametrize(("errno", "definitive"), [(1045, True), (1049, True), (1040, False)])
def test_definitive_refusals_of_mysql(errno: int, definitive: bool) -> None:
    code = "28000" if errno == 1045 else "42000"
    refusal = errors.ServerRefused("refused", response=b"\xff", code=code, errno=errno)
    assert refusal.definitive == definitive
    assert refusal.secret_rejected == (errno == 1045)
