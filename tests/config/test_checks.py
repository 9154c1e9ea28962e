"""What only shows between values, or on the system."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from proxy.config.load import parse
from proxy.errors import ConfigError
from tests.config.sample import SMALL, with_group, with_process, with_proxy

if TYPE_CHECKING:
    from pathlib import Path


def endpoint(listen: str, name: str = "orders") -> str:
    return f'\n[[proxy.{name}.endpoint]]\nlisten = "{listen}"\n'


def entry(lines: str) -> str:
    return re.sub(r'user = "app"\n.*\n', lines + "\n", SMALL)


CASES = [
    ("", "proxy: no proxy is configured; begin one with [[proxy.NAME.endpoint]]"),
    ("[proxy.a]", "proxy.a.endpoint: at least one is needed; add [[proxy.a.endpoint]]"),
    ("[proxy.a]", "proxy.a.auth: at least one is needed; add [[proxy.a.auth]]"),
    ("[proxy.a]", "proxy.a.target: at least one is needed; add [[proxy.a.target]]"),
    (
        SMALL + '[[proxy.orders.target]]\nhost = "b"\n',
        "proxy.orders.target: 2 targets are not in this version: it uses exactly one",
    ),
    (with_proxy('tls_cert = "/c"'), "proxy.orders.tls_key: missing; tls_cert needs it"),
    (with_proxy('tls_key = "/k"'), "proxy.orders.tls_cert: missing; tls_key needs it"),
    (
        with_proxy('tls_cert = "/no/c"\ntls_key = "/no/k"'),
        'proxy.orders.tls_cert: "/no/c" cannot be read: No such file or directory',
    ),
    (
        with_proxy('tls_cert = "/no/c"\ntls_key = "/no/k"'),
        'proxy.orders.tls_key: "/no/k" cannot be read: No such file or directory',
    ),
    (with_proxy("require_tls = true"), "proxy.orders.require_tls: needs tls_cert and tls_key"),
    (
        SMALL + 'tls_ca = "/no/ca"',
        'proxy.orders.target[0].tls_ca: "/no/ca" cannot be read: No such file or directory',
    ),
    (
        with_group("min_connections = 6\nmax_connections = 5"),
        "proxy.orders.target_group.min_connections: 6 is more than max_connections, 5",
    ),
    (entry('user = "app"'), "proxy.orders.auth[0].credential: missing; say where"),
    (
        entry('user = "app"\ncredential = "secret"'),
        'proxy.orders.auth[0].credential: must be a reference such as "env:NAME"',
    ),
    (
        entry('user = "app"\ncredential = "aws-iam"'),
        'proxy.orders.auth[0].credential: must be a reference such as "env:NAME"',
    ),
    (
        entry('user = "app"\ncredential = "static:"'),
        'proxy.orders.auth[0].credential: nothing follows the ":"',
    ),
    (
        entry('user = "app"\ncredential = "evn:X"'),
        "proxy.orders.auth[0].credential: its scheme is unknown; known are env, file, static; "
        'did you mean "env:"?',
    ),
    (
        entry('user = "app"\ncredential = "file:a"'),
        "proxy.orders.auth[0].credential: file: the path must be absolute",
    ),
    (SMALL.replace(":6432", ""), "proxy.orders.endpoint[0].listen: listen = "),
    (SMALL.replace(":6432", ":" + "1" * 5000), "proxy.orders.endpoint[0].listen: "),
    (
        SMALL.replace("127.0.0.1:6432", "unix:/" + "é" * 60),
        "proxy.orders.endpoint[0].listen: the path is longer than 107 bytes",
    ),
    (
        with_process('admin_listen = "unix:/a"'),
        'process.admin_listen: "unix:/a" must be host:port, not a Unix socket',
    ),
    (
        SMALL + endpoint("127.0.0.1:6432"),
        'proxy.orders.endpoint[1].listen: "127.0.0.1:6432" is taken by '
        "proxy.orders.endpoint[0].listen; choose another address",
    ),
    (
        SMALL + SMALL.replace("orders", "stock"),
        'proxy.stock.endpoint[0].listen: "127.0.0.1:6432" is taken by '
        "proxy.orders.endpoint[0].listen",
    ),
    (
        SMALL + endpoint("127.0.0.1:9127"),
        'proxy.orders.endpoint[1].listen: "127.0.0.1:9127" is taken by process.admin_listen',
    ),
    (
        SMALL + endpoint("LocalHost:1") + endpoint("localhost:1"),
        'proxy.orders.endpoint[2].listen: "localhost:1" is taken by',
    ),
    (
        SMALL + endpoint("unix:/a") + endpoint("unix:/a"),
        'proxy.orders.endpoint[2].listen: "unix:/a" is taken by',
    ),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[case[1][:60] for case in CASES])
def test_what_does_not_fit_together_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, source="a.toml")
    found = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert any(line.startswith(expected) for line in found), found


@pytest.mark.parametrize(
    "text",
    [
        with_process("workers = 0"),
        with_process("workers = 4"),
        with_process('admin_listen = ""'),
        with_group("min_connections = 5\nmax_connections = 5"),
        with_group("min_connections = 5"),
        entry('user = "app"\nclient_auth = "trust"'),
        entry('user = "app"\ncredential = "static:a:b"'),
        SMALL + endpoint("[::1]:6432") + endpoint("unix:/run/a"),
        SMALL + endpoint("127.0.0.1:0") + endpoint("127.0.0.1:0"),
        SMALL + endpoint("unix:/A") + endpoint("unix:/a"),
    ],
)
def test_what_fits_together_is_accepted(text: str) -> None:
    assert parse(text, source="a.toml").proxy["orders"].endpoint


def test_readable_files_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_text("")
    text = with_proxy(f'require_tls = true\ntls_cert = "{file}"\ntls_key = "{file}"')
    text += f'tls_ca = "{file}"\n'
    assert parse(text, source="a.toml").proxy["orders"].require_tls


def test_a_wrong_value_has_no_consequences() -> None:
    text = with_proxy("tls_cert = 1\ntls_key = 'x'\nrequire_tls = true")
    text += "[proxy.orders.target_group]\nmax_connections = 'x'\nmin_connections = 5\n"
    text += "[[proxy.orders.auth]]\nuser = 'a'\nclient_auth = 'iam'\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, source="a.toml")
    found = [line.strip().split(": ")[0] for line in str(caught.value).splitlines()[1:]]
    assert found == [
        "proxy.orders.tls_cert",
        "proxy.orders.auth[1].client_auth",
        "proxy.orders.target_group.max_connections",
    ]
