"""The model as a table of keys."""

from __future__ import annotations

from dataclasses import MISSING

from proxy.config.model import (
    AuthConfig,
    Config,
    EndpointConfig,
    ProcessConfig,
    ProxyConfig,
    TargetConfig,
    TargetGroupConfig,
)
from proxy.config.schema import Kind, keys_of

MODELS = (
    Config,
    ProcessConfig,
    ProxyConfig,
    EndpointConfig,
    AuthConfig,
    TargetConfig,
    TargetGroupConfig,
)


def test_every_kind_is_recognised() -> None:
    kinds = {key.kind for model in MODELS for key in keys_of(model).values()}
    assert kinds == set(Kind)


def test_the_name_of_a_proxy_is_no_key() -> None:
    assert "name" not in keys_of(ProxyConfig)
    assert "name" in keys_of(EndpointConfig)


def test_a_key_knows_its_range_and_default() -> None:
    key = keys_of(TargetConfig)["port"]
    assert (key.kind, key.default, key.minimum, key.maximum) == (Kind.INTEGER, 0, 0, 65535)
    assert not key.required
    host = keys_of(TargetConfig)["host"]
    assert host.required
    assert host.default is MISSING


def test_tables_know_their_model() -> None:
    keys = keys_of(ProxyConfig)
    assert (keys["target"].kind, keys["target"].table) == (Kind.TABLES, TargetConfig)
    assert (keys["target_group"].kind, keys["target_group"].table) == (
        Kind.TABLE,
        TargetGroupConfig,
    )
    assert keys_of(Config)["proxy"].table is ProxyConfig
