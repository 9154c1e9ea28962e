"""Writing a configuration and reading it back."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.load import parse
from proxy.config.model import Config
from proxy.config.schema import Key, Kind, keys_of
from proxy.config.show import to_toml
from tests.config.sample import SMALL


def valid(key: Key) -> st.SearchStrategy[Any]:
    """Give values that a key takes; for keys that are checked against others, the default."""
    if key.kind is Kind.TABLE and key.table:
        return build(key.table)
    if key.kind is Kind.BOOLEAN:
        return st.booleans()
    low, high = key.minimum, key.maximum
    if key.kind is Kind.INTEGER:
        return st.integers(int(low or 0), int(high or 10**9))
    if key.kind is Kind.NUMBER:
        return st.floats(low, high if high is not None else 1e15)
    if key.kind is Kind.TEXTS:
        return st.lists(st.sampled_from(key.choices), max_size=2).map(tuple)
    return (
        st.sampled_from(key.choices) if key.choices else st.text().filter(lambda t: "\0" not in t)
    )


def build(model: type, **given_values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Give instances of a table's model."""
    values = {
        name: given_values.get(name, valid(key))
        for name, key in keys_of(model).items()
        if name in given_values or key.kind is not Kind.TABLES
    }
    if "name" in given_values:
        values["name"] = given_values["name"]
    return st.builds(model, **values)


NONE = st.just("")
FILLED = st.text(min_size=1).filter(lambda text: "\0" not in text)


def configurations() -> st.SearchStrategy[Config]:
    """Give configurations that can be used, with every kind of text in them."""
    from proxy.config import model

    group = build(model.TargetGroupConfig, min_connections=st.just(0))
    proxy = build(
        model.ProxyConfig,
        engine=st.just("postgresql"),
        name=st.just("or-d_ers9"),
        require_tls=st.just(False),
        tls_cert=NONE,
        tls_key=NONE,
        target_group=group,
        endpoint=build(model.EndpointConfig, listen=st.just("127.0.0.1:1")).map(lambda e: (e,)),
        auth=build(
            model.AuthConfig,
            user=FILLED,
            client_auth=st.sampled_from(["", *model.METHODS["postgresql"]]),
            credential=FILLED.map(lambda text: f"static:{text}"),
        ).map(lambda entry: (entry,)),
        target=build(model.TargetConfig, host=FILLED, tls_ca=NONE).map(lambda t: (t,)),
    )
    process = build(model.ProcessConfig, workers=st.integers(0, 1), admin_listen=st.just("[::1]:2"))
    return st.builds(Config, process=process, proxy=proxy.map(lambda p: {p.name: p}))


@given(configurations())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_reads_back_the_same(config: Config) -> None:
    assert parse(to_toml(config, redacted=False), source="") == config


def test_defaults_are_written_too() -> None:
    text = to_toml(parse(SMALL, source=""))
    assert "[process]\nworkers = 1\n" in text
    assert '[proxy.orders.target_group]\npool_mode = "transaction"\n' in text
    assert "idle_client_timeout_s = 1800\n" in text
    assert "connect_timeout_s = 10\n" in text
    assert "session_pinning_filters = []\n" in text


def test_secrets_are_left_out() -> None:
    text = to_toml(parse(SMALL.replace("env:APP_PASSWORD", "static:hunter2"), source=""))
    assert "hunter2" not in text
    assert 'credential = "static:***"' in text
    assert 'credential = "env:APP_PASSWORD"' in to_toml(parse(SMALL, source=""))
