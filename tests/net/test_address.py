"""Listen strings, and which addresses count as private."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.net.address import (
    ListenAddress,
    Reach,
    classify,
    is_local,
    is_private,
    parse_listen,
    refuse_public,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:6432", ListenAddress("127.0.0.1", 6432)),
        ("localhost:0", ListenAddress("localhost", 0)),
        ("[::1]:6432", ListenAddress("::1", 6432)),
        ("[fe80::1%eth0]:65535", ListenAddress("fe80::1%eth0", 65535)),
        (":6432", ListenAddress("", 6432)),
        ("*:6432", ListenAddress("", 6432)),
        ("unix:/run/tidegate/.s.PGSQL.6432", ListenAddress(path="/run/tidegate/.s.PGSQL.6432")),
    ],
)
def test_parse(text: str, expected: ListenAddress) -> None:
    assert parse_listen(text) == expected
    assert parse_listen(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "6432",
        "localhost:",
        "localhost:port",
        "localhost:65536",
        "localhost:-1",
        "localhost:" + "9" * 5000,
        "localhost:\uff16432",
        "::1:6432",
        "::1",
        "[::1]",
        "[localhost]:6432",
        "[127.0.0.1]:6432",
        "unix:relative/path",
        "unix:",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="listen = "):
        parse_listen(text)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        address = parse_listen(text)
    except ConfigError:
        return
    assert 0 <= address.port <= 65535


REACHES = {
    Reach.LOOPBACK: ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"],
    Reach.WILDCARD: ["0.0.0.0", "::", "::ffff:0.0.0.0"],
    Reach.PRIVATE: [
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.1.1",
        "100.64.0.0",
        "100.127.255.255",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:10.1.2.3",
    ],
    Reach.PUBLIC: [
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "11.0.0.0",
        # "Private" for ipaddress, though nobody's network.
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "0.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "2001:db8::1",
        "2606:4700::1",
        "::ffff:8.8.8.8",
        "2002:0a00:0001::1",
        "64:ff9b::a00:1",
        "fec0::1",
        "fbff::1",
    ],
}
CASES = [(text, reach) for reach, texts in REACHES.items() for text in texts]


@pytest.mark.parametrize(("text", "reach"), CASES)
def test_reach(text: str, reach: Reach) -> None:
    assert classify(ipaddress.ip_address(text)) is reach
    peer = (text, 1234)
    assert is_local(peer) == (reach is Reach.LOOPBACK)
    assert is_private(peer) == (reach in (Reach.LOOPBACK, Reach.PRIVATE))


@pytest.mark.parametrize("peer", ["", b"", "/run/socket", b"\0abstract"])
def test_unix_peers_are_local(peer: str | bytes) -> None:
    assert is_local(peer)
    assert is_private(peer)


@pytest.mark.parametrize("peer", [None, (), ("",), ("nonsense", 1), (None, 1), 5])
def test_peers_that_say_nothing_are_not_trusted(peer: object) -> None:
    assert not is_local(peer)
    assert not is_private(peer)


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:1", "[::1]:1", "10.0.0.1:1", "unix:/tmp/socket", "localhost:1"]
)
async def test_private_addresses_are_accepted(listen: str) -> None:
    await refuse_public(parse_listen(listen))


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:1", "[::]:1", ":1", "*:1", "8.8.8.8:1", "[2606:4700::1]:1", "0:1"]
)
async def test_others_are_refused_with_a_remedy(listen: str) -> None:
    with pytest.raises(ConfigError, match="allow_public_bind = true"):
        await refuse_public(parse_listen(listen))


async def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="listen = "):
        await refuse_public(parse_listen("nosuchname.invalid:1"))
