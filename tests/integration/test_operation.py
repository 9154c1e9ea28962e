"""Starting, draining, reloading, listening: what an operator does to the process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.proxy import ROOT, ProxyProcess, ProxySettings, auth_entries
from tests.support.wire import Closed, WireClient, connect, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer


def refused(proxy: ProxyProcess) -> bool:
    """Say whether new connections are turned away, with or without a word."""
    try:
        with WireClient(proxy.host, proxy.port, timeout_s=5) as client:
            return wire.states(client.login()) == ["57P01"]
    except (OSError, Closed):
        return True


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``tidegate`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_drain(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(ProxySettings(fault_server))
    idle, busy, working = (connect(proxy.host, proxy.port) for _ in range(3))
    busy.query("BEGIN")
    working.send(wire.query("SELECT pg_sleep(1), 'finished'"))
    assert working.silent(0.1)
    proxy.signal(signal.SIGTERM)
    said = idle.drain()
    assert wire.states(said) == ["57P01"]
    assert said[-1].fields["S"] == "FATAL"
    eventually(lambda: refused(proxy), "turning newcomers away")
    assert busy.value("SELECT 'may finish'") == "may finish"
    reply = busy.query("COMMIT")
    assert wire.codes(reply) == "CZ"
    assert wire.states(busy.drain()) == ["57P01"]
    reply = working.read_until()
    assert wire.rows(reply)[0][1] == b"finished"
    assert wire.states(working.drain()) == ["57P01"]
    began = time.monotonic()
    proxy.process.wait(10)
    assert time.monotonic() - began < 3
    assert not fault_server.backends(usename="app")
    for client in (idle, busy, working):
        client.close()


def test_drain_is_bounded(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(ProxySettings(fault_server, process={"shutdown_grace_s": 1}))
    with connect(proxy.host, proxy.port) as holder, connect(proxy.host, proxy.port) as sleeper:
        holder.query("BEGIN")
        sleeper.send(wire.query("SELECT pg_sleep(60)"))
        assert sleeper.silent(0.1)
        began = time.monotonic()
        proxy.signal(signal.SIGTERM)
        assert wire.states(holder.drain()) == ["57P01"]
        assert time.monotonic() - began < 4
        sleeper.drain()
        proxy.process.wait(10)
    eventually(lambda: not fault_server.backends(usename="app"), "gone from the server")


def test_drain_sends_waiters_away(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(
        ProxySettings(fault_server, group={"max_connections": 1}, process={"shutdown_grace_s": 1})
    )
    with connect(proxy.host, proxy.port) as holder, connect(proxy.host, proxy.port) as waiter:
        holder.query("BEGIN")
        waiter.send(wire.query("SELECT 1"))
        assert waiter.silent(0.1)
        proxy.signal(signal.SIGTERM)
        assert wire.states(waiter.drain()) == ["57P01"]
        holder.drain()


def test_interrupt_ends_it_too(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(ProxySettings(fault_server))
    proxy.signal(signal.SIGINT)
    assert proxy.process.wait(10) == 0


def test_reload_by_signal(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    settings = ProxySettings(fault_server, group={"max_connections": 1}, auth=auth_entries("app"))
    proxy = start_proxy(settings)
    with connect(proxy.host, proxy.port) as standing, connect(proxy.host, proxy.port) as second:
        standing.query("BEGIN")
        second.send(wire.query("SELECT 'served'"))
        assert second.silent()
        with WireClient(proxy.host, proxy.port) as stranger:
            assert wire.states(stranger.login("other", "app")) == ["28P01"]
        settings.group["max_connections"] = 3
        settings.auth = auth_entries("app", "other")
        proxy.reload()
        assert wire.rows(second.read_until()) == [[b"served"]], "the budget grew"
        with connect(proxy.host, proxy.port, "other", "app") as stranger:
            assert stranger.value("SELECT 1") == "1"
        assert standing.value("SELECT 'unharmed'") == "unharmed"
        standing.query("COMMIT")


def test_reload_by_file_change(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    settings = ProxySettings(fault_server, auth=auth_entries("app"))
    proxy = start_proxy(settings)
    settings.auth = auth_entries("app", "other")
    proxy.write_config()

    def admitted() -> bool:
        with WireClient(proxy.host, proxy.port) as client:
            return client.login("other", "app")[-1].code == "Z"

    eventually(admitted, "admitted", 20)


def test_reload_shrinks_the_budget(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    settings = ProxySettings(fault_server, group={"max_connections": 4})
    proxy = start_proxy(settings)
    clients = [connect(proxy.host, proxy.port) for _ in range(4)]
    for client in clients:
        client.send(wire.query("SELECT pg_sleep(0.3)"))
    for client in clients:
        client.read_until()
    settings.group["max_connections"] = 1
    proxy.reload()
    eventually(lambda: len(fault_server.backends(usename="app")) <= 1, "shrunk", 20)
    for client in clients:
        assert client.value("SELECT 1") == "1"
        client.close()


def test_reload_of_nonsense_changes_nothing(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(ProxySettings(fault_server))
    with connect(proxy.host, proxy.port) as client:
        for text in ("not toml at all [", "[proxy.main]\nengine = 'oracle'\n", "", "[prox.main]\n"):
            before = len(proxy.log())
            proxy.config_file.write_text(text)
            proxy.signal(signal.SIGHUP)
            proxy.wait_for(lambda at=before: len(proxy.log()) > at, "complaining")  # type: ignore[misc]
            assert client.value("SELECT 1") == "1"
        with connect(proxy.host, proxy.port) as newcomer:
            assert newcomer.value("SELECT 1") == "1"
    assert "Traceback" not in proxy.log()


def test_reload_says_what_needs_a_restart(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    settings = ProxySettings(fault_server)
    proxy = start_proxy(settings)
    settings.group["pool_mode"] = "session"
    proxy.reload()
    proxy.wait_for(lambda: "pool_mode" in proxy.log(), "naming the key")


def test_password_changes_by_reload(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    fault_server.admin("CREATE ROLE rotating LOGIN PASSWORD 'old-one'")
    try:
        entry = {"user": "rotating", "credential": "static:old-one"}
        settings = ProxySettings(fault_server, auth=[entry])
        proxy = start_proxy(settings)
        with WireClient(proxy.host, proxy.port) as client:
            assert client.login("rotating", password="old-one")[-1].code == "Z"
            fault_server.admin("ALTER ROLE rotating PASSWORD 'new-one'")
            entry["credential"] = "static:new-one"
            proxy.reload()
            assert client.value("SELECT 1") == "1"
        with WireClient(proxy.host, proxy.port) as client:
            assert wire.states(client.login("rotating", password="old-one")) == ["28P01"]
        with WireClient(proxy.host, proxy.port) as client:
            assert client.login("rotating", password="new-one")[-1].code == "Z"
            assert client.value("SELECT 1") == "1"
        proxy.stop()
    finally:
        fault_server.admin("DROP ROLE rotating")


def test_password_file_is_read_again(
    fault_server: PostgresServer, tmp_path: Path, start_proxy: StartProxy
) -> None:
    fault_server.admin("CREATE ROLE rotating LOGIN PASSWORD 'old-one'")
    secret = tmp_path / "secret"
    secret.write_text("old-one\n")
    try:
        auth = [{"user": "rotating", "credential": f"file:{secret}"}]
        proxy = start_proxy(ProxySettings(fault_server, auth=auth))

        def enters(password: str) -> bool:
            with WireClient(proxy.host, proxy.port) as client:
                said = client.login("rotating", password=password)
                return said[-1].code == "Z" and client.value("SELECT 1") == "1"

        assert enters("old-one")
        fault_server.admin("ALTER ROLE rotating PASSWORD 'new-one'")
        secret.write_text("new-one\n")
        eventually(lambda: enters("new-one"), "admitted with the new password", 20)
        assert not enters("old-one")
        proxy.stop()
    finally:
        fault_server.admin("DROP ROLE rotating")


def test_unix_socket(pooled: ProxyProcess) -> None:
    folder = os.path.dirname(pooled.settings.unix_socket)
    with connect(folder, 6432) as client:
        assert client.value("SELECT 'by file'") == "by file"


def test_unix_socket_is_removed(
    fault_server: PostgresServer, start_proxy: StartProxy, tmp_path: Path
) -> None:
    path = f"/tmp/tg-{os.getpid()}.sock"
    proxy = start_proxy(ProxySettings(fault_server, unix_socket=path))
    assert os.path.exists(path)
    proxy.stop()
    assert not os.path.exists(path)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "8.8.8.8:0", "*:0"])
def test_public_addresses_are_refused(
    fault_server: PostgresServer, tmp_path: Path, address: str
) -> None:
    text = ProxySettings(fault_server).toml()
    port = text[text.index('listen = "127') :].split('"')[1]
    file = tmp_path / "public.toml"
    file.write_text(text.replace(f'listen = "{port}"', f'listen = "{address}"'))
    for verb in ("check", "serve"):
        run = command(verb, "--config", str(file))
        assert run.returncode == 2, run.stderr
        assert "allow_public_bind" in run.stdout + run.stderr
        assert "Traceback" not in run.stderr


def test_port_in_use(fault_server: PostgresServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ProxySettings(fault_server, port=taken.getsockname()[1])
        file = tmp_path / "taken.toml"
        file.write_text(settings.toml())
        run = command("serve", "--config", str(file))
        assert run.returncode == 1
        assert "Traceback" not in run.stderr
        assert str(settings.port) in run.stderr


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[proxy.main]\nenginee = 'postgresql'\n", "engine"),
        ("[proxy.main.target_group]\nmax_connections = -1\n", "max_connections"),
        ("[process]\nlog_format = 'xml'\n", "json"),
        ("this is not toml", "toml"),
    ],
)
def test_bad_configuration(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    for verb in ("check", "serve"):
        run = command(verb, "--config", str(file))
        assert run.returncode == 2
        assert word in (run.stdout + run.stderr).lower()
        assert "Traceback" not in run.stderr


def test_bad_usage(tmp_path: Path) -> None:
    assert command("serve", "--config", str(tmp_path / "nosuch.toml")).returncode == 2
    assert command("nosuch").returncode == 2
    assert command("version").returncode == 0


def test_check_accepts_a_good_file(fault_server: PostgresServer, tmp_path: Path) -> None:
    file = tmp_path / "good.toml"
    file.write_text(ProxySettings(fault_server).toml())
    run = command("check", "--config", str(file))
    assert run.returncode == 0, run.stderr


def test_admin_pages(single: ProxyProcess) -> None:
    assert single.http_status("/livez") == 200
    assert single.http_status("/readyz") == 200
    assert single.http_status("/nosuch") == 404
    url = f"http://127.0.0.1:{single.settings.admin_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert "text/plain" in reply.headers["Content-Type"]


def test_starts_without_a_server(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    """The database may come later: the proxy listens and tells clients, instead of dying."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    proxy = start_proxy(ProxySettings(fault_server, target={"port": port}))
    with WireClient(proxy.host, proxy.port) as client:
        assert wire.states(client.login())[0][:2] == "08"
