"""What ``check`` finds out beyond the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.examine import Findings, examine
from proxy.config.load import parse
from proxy.credentials.registry import BUILT_IN
from tests.config.sample import SMALL, with_process, with_proxy
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.credentials.base import Credential

CREDENTIAL = 'credential = "env:APP_PASSWORD"'


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the small configuration the secret it refers to."""
    monkeypatch.setenv("APP_PASSWORD", "hunter2")


async def found_in(text: str) -> Findings:
    return await examine(parse(text, source="a.toml"))


async def test_a_local_proxy_is_beyond_doubt() -> None:
    findings = await found_in(SMALL)
    assert findings == Findings(
        summary=[
            "admin server on http://127.0.0.1:9127",
            "proxy orders: postgresql, transaction pooling, "
            "100% of the connections the server allows",
            "  endpoint 127.0.0.1:6432: read_write, no TLS",
            "  user app: scram-sha-256, env:APP_PASSWORD reachable",
            "  target 127.0.0.1:5432: TLS prefer",
        ]
    )


@pytest.mark.parametrize("address", ["0.0.0.0:6432", "[::]:6432", "8.8.8.8:6432", "*:6432"])
async def test_public_addresses_are_refused_unless_asked_for(address: str) -> None:
    text = SMALL.replace("127.0.0.1:6432", address)
    (failure,) = (await found_in(text)).failures
    assert failure.startswith("proxy.orders.endpoint[0].listen: ")
    assert "allow_public_bind" in failure
    findings = await found_in("[process]\nallow_public_bind = true\n" + text)
    assert not findings.failures
    assert "process.allow_public_bind: clients from public addresses are served" in (
        findings.warnings
    )


async def test_the_admin_server_is_looked_at_too() -> None:
    (failure,) = (await found_in(with_process('admin_listen = "0.0.0.0:1"'))).failures
    assert failure.startswith("process.admin_listen: ")
    findings = await found_in(with_process('admin_listen = ""'))
    assert not any("admin" in line for line in findings.summary)


async def test_a_secret_that_cannot_be_had_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("APP_PASSWORD")
    findings = await found_in(SMALL)
    assert findings.failures == [
        "proxy.orders.auth[0].credential: env:APP_PASSWORD: the environment variable is not set"
    ]
    assert "  user app: scram-sha-256, env:APP_PASSWORD not reachable" in findings.summary


async def test_a_secret_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2")
    file.chmod(0o644)
    text = SMALL.replace("env:APP_PASSWORD", f"file:{file}")
    assert (await found_in(text)).warnings == [
        f"proxy.orders.auth[0].credential: file:{file} may be read by every user of the system"
    ]
    file.chmod(0o600)
    assert not (await found_in(text)).warnings


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            SMALL.replace("env:APP_PASSWORD", "static:hunter2"),
            "proxy.orders.auth[0].credential: the secret is in the configuration file",
        ),
        (
            SMALL.replace(CREDENTIAL, 'client_auth = "trust"'),
            "proxy.orders.auth[0].client_auth: clients from this machine log in without a password",
        ),
        (
            SMALL.replace(CREDENTIAL, 'client_auth = "trust"\nallow_trust_from_network = true'),
            "proxy.orders.auth[0].client_auth: clients from anywhere log in without a password",
        ),
        (
            SMALL.replace(CREDENTIAL, CREDENTIAL + '\nclient_auth = "password"'),
            "proxy.orders.auth[0].client_auth: nobody can log in, for password needs TLS and there "
            "is no certificate",
        ),
        (
            SMALL.replace(CREDENTIAL, CREDENTIAL + '\nclient_auth = "md5"'),
            "proxy.orders.auth[0].client_auth: md5 is weak; prefer scram-sha-256",
        ),
        (
            SMALL.replace('"app"', '"*"') + f'[[proxy.orders.auth]]\nuser = "b"\n{CREDENTIAL}\n',
            "proxy.orders.auth[1].user: never used, an earlier entry matches first; "
            "the first match wins",
        ),
        (
            SMALL + f'[[proxy.orders.auth]]\nuser = "app"\n{CREDENTIAL}\n',
            "proxy.orders.auth[1].user: never used, an earlier entry matches first; "
            "the first match wins",
        ),
        (
            SMALL.replace("127.0.0.1:6432", "10.0.0.1:6432"),
            "proxy.orders.endpoint[0].listen: reachable over the network without TLS",
        ),
        (
            SMALL.replace('host = "127.0.0.1"', 'host = "db.internal"'),
            'proxy.orders.target[0].tls: "prefer" does not protect the way to the database; '
            '"verify-full" does',
        ),
    ],
)
async def test_what_may_not_be_meant_is_a_warning(text: str, warning: str) -> None:
    findings = await found_in(text)
    assert findings.warnings == [warning]
    assert not findings.failures
    assert "hunter2" not in "\n".join(findings.summary + findings.warnings)


@pytest.mark.parametrize("listen", ["unix:/run/a", "[::1]:1", "localhost:1", "127.1.2.3:1"])
async def test_this_machine_needs_no_tls(listen: str) -> None:
    assert not (await found_in(SMALL.replace("127.0.0.1:6432", listen))).warnings


async def test_a_target_on_a_unix_socket() -> None:
    findings = await found_in(SMALL.replace('host = "127.0.0.1"', 'host = "/run/pg"'))
    assert "  target unix:/run/pg/.s.PGSQL.5432: TLS prefer" in findings.summary
    assert not findings.warnings


async def test_mysql_has_ports_sockets_and_methods_of_its_own() -> None:
    text = with_proxy('engine = "mysql"')
    summary = (await found_in(text)).summary
    assert "  user app: the server's method, env:APP_PASSWORD reachable" in summary
    assert "  target 127.0.0.1:3306: TLS prefer" in summary
    findings = await found_in(text.replace('host = "127.0.0.1"', 'host = "/run/my.sock"'))
    assert "  target unix:/run/my.sock: TLS prefer" in findings.summary


async def test_certificates_are_tried(tmp_path: Path) -> None:
    good = make_certificates(tmp_path, "proxy")
    bad = tmp_path / "bad.pem"
    bad.write_text("nonsense")

    def text(certificate: object, authority: object, mode: str) -> str:
        lines = f'require_tls = true\ntls_cert = "{certificate}"\ntls_key = "{good.key}"'
        return with_proxy(lines) + f'tls = "{mode}"\ntls_ca = "{authority}"\n'

    findings = await found_in(text(good.certificate, good.authority, "verify-full"))
    assert not findings.failures
    assert "  endpoint 127.0.0.1:6432: read_write, TLS required" in findings.summary
    findings = await found_in(text(bad, bad, "verify-ca"))
    assert [line.partition(":")[0] for line in findings.failures] == [
        "proxy.orders.tls_cert",
        "proxy.orders.target[0].tls_ca",
    ]
    findings = await found_in(text(good.certificate, good.authority, "prefer"))
    assert 'proxy.orders.target[0].tls_ca: without effect with tls = "prefer"' in (
        findings.warnings
    )


async def test_a_key_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, "proxy")
    text = with_proxy(f'tls_cert = "{files.certificate}"\ntls_key = "{files.key}"')
    files.key.chmod(0o644)
    assert (await found_in(text)).warnings == [
        "proxy.orders.tls_key: every user of the system may read the file"
    ]
    files.key.chmod(0o600)
    assert not (await found_in(text)).warnings


class Broken:
    """A plug-in's provider with a mistake in it."""

    def __init__(self, rest: str) -> None:
        self.rest = rest

    async def fetch(self, user: str) -> Credential:
        if self.rest == "slow":
            raise TimeoutError
        raise RuntimeError("the secret is hunter2")

    def changed(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("rest", "failure"),
    [("slow", "did not answer in 10 seconds"), ("broken", "failed: RuntimeError")],
)
async def test_a_broken_plug_in_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, rest: str, failure: str
) -> None:
    monkeypatch.setitem(BUILT_IN, "broken", Broken)
    findings = await found_in(SMALL.replace("env:APP_PASSWORD", f"broken:{rest}"))
    assert findings.failures == [f"proxy.orders.auth[0].credential: broken:*** {failure}"]
    assert "  user app: scram-sha-256, broken:*** not reachable" in findings.summary
