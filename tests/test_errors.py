"""What clients are told of each error, and that the drawn tree is the real one."""

from __future__ import annotations

import re

import pytest

from proxy import errors
from proxy.errors import ProxyError, ServerRefused


def every_error() -> list[type[ProxyError]]:
    """Give all classes of the module."""
    found = [item for item in vars(errors).values() if isinstance(item, type)]
    return [item for item in found if issubclass(item, ProxyError)]


def drawn_tree() -> dict[str, str]:
    """Read the parent of each class off the drawing in the module's docstring."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ((?:│   |    )*)(├── |└── )?(\w+)(?:  |$)", line)
        if found is None:
            continue
        depth = len(found[1]) // 4 + bool(found[2])
        path[depth:] = [found[3]]
        if depth:
            parents[found[3]] = path[depth - 1]
    return parents


def test_the_drawn_tree_is_the_real_one() -> None:
    real = {error.__name__: error.__bases__[0].__name__ for error in every_error()}
    assert real.pop("ProxyError") == "Exception"
    assert drawn_tree() == real


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_codes_are_well_formed(error: type[ProxyError]) -> None:
    assert re.fullmatch("[0-9A-Z]{5}", error.sqlstate)
    assert 1000 <= error.mysql_errno < 65536


@pytest.mark.parametrize(
    ("error", "sqlstate", "fatal", "retryable"),
    [
        (errors.ClientAuthError, "28P01", True, False),
        (errors.ClientNotAdmitted, "28000", True, False),
        (errors.ClientProtocolError, "08P01", True, False),
        (errors.FeatureNotSupported, "0A000", True, False),
        (errors.IdleClient, "57P05", True, False),
        (errors.IdleInTransaction, "25P03", True, False),
        (errors.QueryCanceled, "57014", False, False),
        (errors.TooManyClients, "53300", True, True),
        (errors.BorrowTimeout, "53300", False, True),
        (errors.ShuttingDown, "57P01", True, True),
        (errors.ConnectFailed, "08001", True, True),
        (errors.ServerLost, "08006", True, True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_clients_are_told(
    error: type[ProxyError], sqlstate: str, fatal: bool, retryable: bool
) -> None:
    assert (error.sqlstate, error.fatal, error.retryable) == (sqlstate, fatal, retryable)


def test_detail_is_kept_from_clients() -> None:
    error = errors.ConnectFailed("could not connect", detail="10.1.2.3 refused")
    assert str(error) == "could not connect"
    assert error.detail == "10.1.2.3 refused"
    assert errors.ConfigError("no detail").detail == ""


@pytest.mark.parametrize(
    ("code", "definitive"),
    [("28P01", True), ("28000", True), ("3D000", True), ("53300", False), ("57P03", False)],
)
def test_which_refusals_are_definitive(code: str, definitive: bool) -> None:
    refusal = ServerRefused("no", response=b"E...", code=code, detail="why")
    assert refusal.definitive is definitive
    assert (refusal.response, str(refusal), refusal.detail) == (b"E...", "no", "why")
