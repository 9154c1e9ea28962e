"""Where the proxy may listen, and whom it serves: this machine and private networks.

``ipaddress.is_private`` is not used: it also counts documentation ranges, 0.0.0.0/8 and 240.0.0.0/4
as private, leaves out carrier-grade NAT, and its list changes with the version of Python.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from enum import Enum
from typing import Final

from proxy.errors import ConfigError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

PRIVATE_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",  # RFC 3927, link-local
        "100.64.0.0/10",  # RFC 6598, carrier-grade NAT
        "fc00::/7",  # RFC 4193, unique local
        "fe80::/10",  # RFC 4291, link-local
    )
)


_PORT: Final = re.compile("[0-9]{1,5}")


class Reach(Enum):
    """From where an address can be reached."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    WILDCARD = "wildcard"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A parsed ``listen``: either ``path``, or ``host`` and ``port``."""

    host: str = ""
    """Name or address without brackets; empty is every address of the machine."""
    port: int = 0
    """0 lets the system choose."""
    path: str = ""
    """Path of a Unix socket."""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Read ``host:port``, ``[ipv6]:port`` or ``unix:/path``. Raises ``ConfigError``."""
    if text.startswith("unix:"):
        path = text[5:]
        if not path.startswith("/"):
            raise ConfigError(f'listen = "{text}": the path of a Unix socket must begin with "/"')
        return ListenAddress(path=path)
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise ConfigError(
            f'listen = "{text}": expected "host:port", "[ipv6]:port" or "unix:/path/of/socket"'
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not isinstance(_ip(host), ipaddress.IPv6Address):
            raise ConfigError(f'listen = "{text}": "{host}" is not an IPv6 address')
    elif ":" in host:
        raise ConfigError(f'listen = "{text}": write an IPv6 address in brackets, "[::1]:{port}"')
    return ListenAddress(host="" if host == "*" else host, port=int(port))


def _ip(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def classify(address: IpAddress) -> Reach:
    """Say from where an address can be reached; IPv4 mapped into IPv6 counts as IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    plain = mapped or address
    if plain.is_unspecified:
        return Reach.WILDCARD
    if plain.is_loopback:
        return Reach.LOOPBACK
    if any(plain in network for network in PRIVATE_NETWORKS):
        return Reach.PRIVATE
    return Reach.PUBLIC


async def refuse_public(address: ListenAddress) -> None:
    """Raise ``ConfigError`` if an address is public or a wildcard, or a name stands for one."""
    if address.path:
        return
    if not address.host:
        raise _refusal(address, "every address of this machine, public ones included")
    for ip in await _resolve(address):
        reach = classify(ip)
        if reach is Reach.WILDCARD:
            raise _refusal(address, "every address of this machine, public ones included")
        if reach is Reach.PUBLIC:
            raise _refusal(address, f"the public address {ip}")


async def _resolve(address: ListenAddress) -> list[IpAddress]:
    literal = _ip(address.host)
    if literal is not None:
        return [literal]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        # A host name that IDNA cannot encode is a UnicodeError.
        reason = getattr(error, "strerror", "") or error
        raise ConfigError(f'listen = "{address}": {reason}') from error
    return [ipaddress.ip_address(entry[4][0]) for entry in found]


def _refusal(address: ListenAddress, what: str) -> ConfigError:
    return ConfigError(
        f'listen = "{address}" is {what}; listen on a loopback or private address or a Unix '
        "socket, or set allow_public_bind = true in [process]"
    )


def _reach_of_peer(peername: object) -> Reach | None:
    """Classify a transport's ``peername``; ``None`` if it says nothing."""
    if isinstance(peername, str | bytes):
        # A Unix socket's: its path, mostly empty.
        return Reach.LOOPBACK
    if isinstance(peername, tuple) and peername and isinstance(peername[0], str):
        ip = _ip(peername[0])
        return classify(ip) if ip is not None else None
    return None


def is_local(peername: object) -> bool:
    """Whether a peer is on this machine: loopback or a Unix socket."""
    return _reach_of_peer(peername) is Reach.LOOPBACK


def is_private(peername: object) -> bool:
    """Whether a peer is on this machine or a private network."""
    return _reach_of_peer(peername) in (Reach.LOOPBACK, Reach.PRIVATE)
