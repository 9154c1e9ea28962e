"""Reading a configuration: every key, every mistake, nothing but ConfigError."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.load import MAX_SIZE_BYTES, load, parse
from proxy.config.model import (
    AuthConfig,
    Config,
    EndpointConfig,
    ProxyConfig,
    TargetConfig,
)
from proxy.config.schema import Key, Kind, keys_of
from proxy.errors import ConfigError
from tests.config.sample import SMALL, with_group, with_process, with_proxy

if TYPE_CHECKING:
    from pathlib import Path


def problems_of(text: str) -> list[str]:
    """Give the lines of the error that a configuration is refused with."""
    with pytest.raises(ConfigError) as caught:
        parse(text, source="a.toml")
    first, *rest = str(caught.value).splitlines()
    count = f"{len(rest)} problem" + ("" if len(rest) == 1 else "s")
    assert first == f"a.toml: {count} in the configuration"
    return [line.removeprefix("  ") for line in rest]


def test_the_least_configuration_gets_the_defaults() -> None:
    assert parse(SMALL, source="a.toml") == Config(
        proxy={
            "orders": ProxyConfig(
                name="orders",
                endpoint=(EndpointConfig(listen="127.0.0.1:6432"),),
                auth=(AuthConfig(user="app", credential="env:APP_PASSWORD"),),
                target=(TargetConfig(host="127.0.0.1"),),
            )
        }
    )


def test_values_are_taken_over() -> None:
    text = with_group(
        'max_connections = 7\nconnection_borrow_timeout_s = 2\ninit_query = "SET a = 1"\n'
        'session_pinning_filters = ["EXCLUDE_VARIABLE_SETS"]'
    )
    group = parse(text, source="a.toml").proxy["orders"].target_group
    assert group.max_connections == 7
    assert group.init_query == "SET a = 1"
    assert group.session_pinning_filters == ("EXCLUDE_VARIABLE_SETS",)
    assert group.connection_borrow_timeout_s == 2.0
    assert isinstance(group.connection_borrow_timeout_s, float)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            with_group("max_conections = 5"),
            "proxy.orders.target_group.max_conections: unknown key; did you mean max_connections?",
        ),
        (
            with_proxy("pool_mode = 'session'"),
            "proxy.orders.pool_mode: unknown key here; it belongs in target_group",
        ),
        (with_process("zzz = 1"), "process.zzz: unknown key; known are workers, "),
        ("listen = 1\n" + SMALL, "listen: unknown key; known are process, proxy"),
        ('"a b" = 1\n' + SMALL, '"a b": unknown key; known are process, proxy'),
        (
            with_group('max_connections = "5"'),
            'proxy.orders.target_group.max_connections: must be an integer, not "5"',
        ),
        (
            with_group("max_connections = true"),
            "proxy.orders.target_group.max_connections: must be an integer, not true",
        ),
        (
            with_group("max_connections = 1.0"),
            "proxy.orders.target_group.max_connections: must be an integer, not 1.0",
        ),
        (
            with_group("max_connections = -1"),
            "proxy.orders.target_group.max_connections: must be from 0 to 100000, not -1",
        ),
        (
            with_process("shutdown_grace_s = true"),
            "process.shutdown_grace_s: must be a number, not true",
        ),
        (
            with_process("shutdown_grace_s = nan"),
            "process.shutdown_grace_s: must be from 0 to 3600, not nan",
        ),
        (
            with_proxy("query_timeout_s = inf"),
            "proxy.orders.query_timeout_s: must be 0 or more, not inf",
        ),
        (
            with_proxy("query_timeout_s = 1" + "0" * 400),
            "proxy.orders.query_timeout_s: must be 0 or more, not a huge integer",
        ),
        (
            with_proxy("require_tls = 1"),
            "proxy.orders.require_tls: must be true or false, not 1",
        ),
        (
            with_proxy("tls_cert = 1"),
            "proxy.orders.tls_cert: must be a string, not 1; put it in quotes",
        ),
        (
            with_process('log_format = "xml"'),
            'process.log_format: must be one of "text", "json", not "xml"',
        ),
        (
            with_proxy('engine = "oracle"'),
            'proxy.orders.engine: must be one of "postgresql", "mysql", not "oracle"',
        ),
        (
            with_proxy('engine = "mariadb"'),
            'proxy.orders.engine: "mariadb" cannot be used: write mysql, which is MariaDB\'s',
        ),
        (
            with_group('session_pinning_filters = ["X"]'),
            "proxy.orders.target_group.session_pinning_filters[0]: must be "
            '"EXCLUDE_VARIABLE_SETS", not "X"',
        ),
        (
            with_group('session_pinning_filters = "EXCLUDE_VARIABLE_SETS"'),
            "proxy.orders.target_group.session_pinning_filters: must be a list of strings, "
            'not "EXCLUDE_VARIABLE_SETS"',
        ),
        (
            with_group('init_query = "a\\u0000b"'),
            "proxy.orders.target_group.init_query: must not contain a NUL character",
        ),
        (
            SMALL.replace("[[proxy.orders.target]]", "[proxy.orders.target]"),
            "proxy.orders.target: must be a list of tables, not a table; "
            "write [[proxy.orders.target]] with double brackets",
        ),
        (
            SMALL + "[[proxy.orders.target_group]]\n",
            "proxy.orders.target_group: must be a table, not a list; "
            "write [proxy.orders.target_group] with single brackets",
        ),
        (with_proxy("endpoint = [3]").split("[[")[0], "proxy.orders.endpoint[0]: must be a table"),
        ("proxy = 3", "proxy: must be a table of tables, not 3"),
        (
            "[proxy]\nlisten = 3\n" + SMALL,
            "proxy.listen: must be a table; begin a proxy with [proxy.NAME]",
        ),
        (SMALL.replace("orders", '"a b"'), 'proxy."a b": a name is 1 to 63 letters'),
        (SMALL.replace('host = "127.0.0.1"', ""), "proxy.orders.target[0].host: missing; it must"),
        (SMALL.replace('"127.0.0.1"', '""'), "proxy.orders.target[0].host: must not be empty"),
    ],
)
def test_a_mistake_names_key_value_and_remedy(text: str, expected: str) -> None:
    found = problems_of(text)
    assert any(line.startswith(expected) for line in found), found


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("iam", "cannot be used: logins with IAM tokens are not in this version"),
        ("caching_sha2_password", "is not postgresql's; use scram-sha-256, md5, password, trust"),
    ],
)
def test_a_login_that_cannot_be_had_is_named(method: str, reason: str) -> None:
    text = SMALL.replace('user = "app"', f'user = "app"\nclient_auth = "{method}"')
    (problem,) = problems_of(text)
    assert problem == f'proxy.orders.auth[0].client_auth: "{method}" {reason}'


def test_every_mistake_is_told_at_once() -> None:
    text = with_process('workers = "x"\nlog_format = 3').replace("6432", "port") + "[unknown]\n"
    assert [line.partition(":")[0] for line in problems_of(text)] == [
        "unknown",
        "process.workers",
        "process.log_format",
        "proxy.orders.endpoint[0].listen",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "credential = 5553535",
        'credential = ["hunter5553535"]',
        'credential = "hunter5553535"',
        'credential = "hunter5553535:x"',
        'credential = "file:hunter5553535"',
        'credential = "static:hunter5553535"\npassword = "hunter5553535"',
    ],
)
def test_a_credential_is_never_shown(line: str) -> None:
    text = SMALL.replace('credential = "env:APP_PASSWORD"', line)
    assert "5553535" not in "\n".join(problems_of(text))


@pytest.mark.parametrize(
    "text",
    ["a = ", "a = 1\na = 2", "[a", "a = " + "9" * 5000, "a = " + "[" * 100_000, "\ufeffa = 1"],
    ids=["cut", "twice", "open", "digits", "depth", "mark"],
)
def test_what_is_not_toml_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^a\.toml: not valid TOML: "):
        parse(text, source="a.toml")


def test_a_file_is_read_whatever_its_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.toml"
    file.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load(file) == load(str(file)) == parse(SMALL, source="")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: embedded null byte"):
        load("a\0b")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 2: save it as UTF-8"):
        load(binary)
    endless = tmp_path / "endless.toml"
    endless.write_bytes(b"#" * (MAX_SIZE_BYTES + 1))
    with pytest.raises(ConfigError, match="not a configuration"):
        load(endless)


# Any value in any place is either taken or refused with ConfigError.

scalars = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates(), st.times()
)
names = st.sampled_from(["process", "proxy", "orders", "endpoint", "auth", "x", "listen", ""])
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def toml(value: object) -> str:
    """Write a value inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f") if value.isascii() else quoted(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
    return str(value)


def quoted(text: str) -> str:
    """Write a string with every character escaped."""
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


def plausible(key: Key) -> st.SearchStrategy[Any]:
    """Give values that fit a key, and some that do not."""
    if key.kind is Kind.NAMED_TABLES and key.table:
        return st.dictionaries(st.just("orders") | names, table_of(key.table), max_size=2)
    if key.kind is Kind.TABLES and key.table:
        return st.lists(table_of(key.table), max_size=2)
    if key.kind is Kind.TABLE and key.table:
        return table_of(key.table)
    fitting: dict[Kind, st.SearchStrategy[Any]] = {
        Kind.BOOLEAN: st.booleans(),
        Kind.INTEGER: st.integers(-1, 200),
        Kind.NUMBER: st.floats(-1, 500),
        Kind.TEXTS: st.lists(st.text(max_size=5), max_size=2),
        Kind.TEXT: st.sampled_from(
            [*key.choices, *key.planned, "", "127.0.0.1:1", "env:A", "static:", "unix:/a", "/nil"]
        ),
    }
    return fitting[key.kind] | anything


def table_of(model: type) -> st.SearchStrategy[dict[str, Any]]:
    """Give tables with some of a model's keys."""
    keys = keys_of(model).values()
    required = {key.name: plausible(key) for key in keys if key.required}
    optional = {key.name: plausible(key) for key in keys if not key.required}
    return st.fixed_dictionaries(required, optional=optional)


def parse_or_refuse(table: dict[str, Any]) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in table.items())
    try:
        message = "" if parse(text, source="a.toml").proxy else "nothing in it"
    except ConfigError as error:
        message = str(error)
    if message:
        assert "not valid TOML" not in message, text
        first, *rest = message.splitlines()
        assert first.startswith("a.toml: ")
        assert rest
        assert all(": " in line for line in rest)


@given(st.dictionaries(names, anything, max_size=3))
@settings(max_examples=150)
def test_arbitrary_values_raise_nothing_else(table: dict[str, Any]) -> None:
    parse_or_refuse(table)


@given(table_of(Config))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_configurations_raise_nothing_else(table: dict[str, Any]) -> None:
    parse_or_refuse(table)


@given(st.text())
@settings(max_examples=100)
def test_arbitrary_text_raises_nothing_else(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text, source="a.toml")


@given(st.binary(max_size=60))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bytes_raise_nothing_else(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "tidegate.toml"
    file.write_bytes(data)
    with pytest.raises(ConfigError):
        load(file)
