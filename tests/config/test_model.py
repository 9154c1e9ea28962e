"""The model's own promises: sensible declarations, RDS Proxy's defaults, secrets kept out."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from proxy.config.model import (
    AuthConfig,
    ProxyConfig,
    TargetConfig,
    TargetGroupConfig,
)
from proxy.config.schema import Kind, keys_of
from tests.config.test_schema import MODELS


@pytest.mark.parametrize("model", MODELS)
def test_defaults_are_values_that_the_key_takes(model: type) -> None:
    for key in keys_of(model).values():
        if key.required or key.kind not in (Kind.INTEGER, Kind.NUMBER, Kind.TEXT):
            continue
        if key.choices:
            assert key.default in key.choices
        assert key.minimum is None or key.default >= key.minimum
        assert key.maximum is None or key.default <= key.maximum
        assert not (key.filled and key.default == "")
        assert not set(key.planned) & set(key.choices)


@pytest.mark.parametrize("model", MODELS)
def test_seconds_are_numbers_and_only_they(model: type) -> None:
    for key in keys_of(model).values():
        assert key.name.endswith("_s") == (key.kind is Kind.NUMBER), key.name


def test_the_defaults_are_rds_proxys() -> None:
    group = TargetGroupConfig()
    assert group.max_connections_percent == 100
    assert group.max_idle_connections_percent == 50
    assert group.connection_borrow_timeout_s == 120
    assert group.connection_max_lifetime_s == 24 * 3600
    assert group.session_pinning_filters == ()
    assert group.init_query == ""
    proxy = ProxyConfig(name="a")
    assert proxy.idle_client_timeout_s == 1800
    assert not proxy.require_tls
    assert not proxy.debug_logging


def test_secrets_are_not_in_a_repr() -> None:
    entry = AuthConfig(user="app", credential="static:hunter2")
    assert "hunter2" not in repr(entry)
    assert [key.name for key in keys_of(AuthConfig).values() if key.secret] == ["credential"]


def test_a_configuration_cannot_be_changed() -> None:
    target = TargetConfig(host="a")
    with pytest.raises(FrozenInstanceError):
        target.host = "b"  # type: ignore[misc]
