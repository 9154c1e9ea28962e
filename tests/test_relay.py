from __future__ import annotations

from proxy.config.load import parse
from proxy.mysql.dialect import MysqlDialect
from proxy.postgres.dialect import PostgresDialect
from proxy.relay import Relay
from tests.config.sample import process_text


def test_a_new_configuration_reaches_gateway_and_janitor() -> None:
    relay = Relay(parse(process_text(), source="test"))
    relay.reconfigure(parse(process_text(idle=90, budget=9), source="test"))
    gateway = relay.gateways[0]
    assert gateway.config.idle_client_timeout_s == 90
    assert gateway.target.maximum == 9
    assert gateway.janitor.config is gateway.config


def test_each_proxy_speaks_the_protocol_of_its_engine() -> None:
    text = process_text()
    for engine, kind in (("postgresql", PostgresDialect), ("mysql", MysqlDialect)):
        config = parse(
            text.replace("[proxy.main]", f'[proxy.main]\nengine = "{engine}"'), source=""
        )
        assert isinstance(Relay(config).gateways[0].dialect, kind)


def test_a_snapshot_has_every_part() -> None:
    snapshot = Relay(parse(process_text(port=6432), source="test")).snapshot()
    assert [row.endpoint for row in snapshot.endpoints] == ["127.0.0.1:6432"]
    assert [(row.target, row.max_allowed) for row in snapshot.targets] == [("127.0.0.1:1", 5)]
    assert not snapshot.ready
    assert snapshot.build["version"]


async def test_a_relay_without_clients_drains_at_once() -> None:
    relay = Relay(parse(process_text(), source="test"))
    relay.ready = True
    await relay.drain(60.0)
    assert not relay.ready
    assert relay.snapshot().draining
