"""Checks that need more than one value of the configuration, or a look at the system.

Every check notes what it finds under the path of the key to change, and says nothing about a value
that already has a problem of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.config.model import METHODS
from proxy.config.problems import Problems, show
from proxy.credentials.registry import check_reference
from proxy.errors import ConfigError, CredentialError
from proxy.net.address import ListenAddress, parse_listen

if TYPE_CHECKING:
    from proxy.config.model import AuthConfig, Config, ProxyConfig, TargetConfig

MAX_SOCKET_PATH_BYTES: Final = 107
"""Longest path of a Unix socket on Linux: ``sun_path`` less its final NUL."""


def check(config: Config, problems: Problems) -> None:
    """Note every problem that shows only between values."""
    if not config.proxy:
        problems.add("proxy", "no proxy is configured; begin one with [[proxy.NAME.endpoint]]")
    for proxy in config.proxy.values():
        _check_proxy(proxy, f"proxy.{proxy.name}", problems)
    _check_listen(config, problems)


def _check_proxy(proxy: ProxyConfig, path: str, problems: Problems) -> None:
    for name in ("endpoint", "auth", "target"):
        if not getattr(proxy, name):
            problems.add(f"{path}.{name}", f"at least one is needed; add [[{path}.{name}]]")
    if len(proxy.target) > 1:
        problems.add(
            f"{path}.target",
            f"{len(proxy.target)} targets are not in this version: it uses exactly one",
        )
    _check_tls(proxy, path, problems)
    _check_target_group(proxy, f"{path}.target_group", problems)
    for index, entry in enumerate(proxy.auth):
        _check_auth(entry, f"{path}.auth[{index}]", proxy.engine, problems)
    for index, target in enumerate(proxy.target):
        _check_target(target, f"{path}.target[{index}]", problems)


def _check_tls(proxy: ProxyConfig, path: str, problems: Problems) -> None:
    certificate, key = f"{path}.tls_cert", f"{path}.tls_key"
    if problems.touch(certificate, key):
        return
    if proxy.tls_cert and not proxy.tls_key:
        problems.add(key, "missing; tls_cert needs it (the same file again if it holds both)")
    if proxy.tls_key and not proxy.tls_cert:
        problems.add(certificate, "missing; tls_key needs it")
    if proxy.require_tls and not proxy.tls_cert and not proxy.tls_key:
        problems.add(f"{path}.require_tls", "needs tls_cert and tls_key")
    _check_readable(proxy.tls_cert, certificate, problems)
    _check_readable(proxy.tls_key, key, problems)


def _check_readable(file: str, path: str, problems: Problems) -> None:
    if not file:
        return
    try:
        with open(file, "rb"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.add(path, f"{show(file)} cannot be read: {reason}")


def _check_target_group(proxy: ProxyConfig, path: str, problems: Problems) -> None:
    group = proxy.target_group
    if problems.touch(f"{path}.max_connections", f"{path}.min_connections"):
        return
    if group.max_connections and group.min_connections > group.max_connections:
        problems.add(
            f"{path}.min_connections",
            f"{group.min_connections} is more than max_connections, {group.max_connections}",
        )


def _check_auth(entry: AuthConfig, path: str, engine: str, problems: Problems) -> None:
    method = entry.client_auth
    if method and method not in METHODS[engine]:
        known = ", ".join(METHODS[engine])
        problems.add(f"{path}.client_auth", f"{show(method)} is not {engine}'s; use {known}")
    key = f"{path}.credential"
    if problems.touch(key):
        return
    if not entry.credential:
        if entry.client_auth != "trust" and not problems.touch(f"{path}.client_auth"):
            problems.add(
                key, 'missing; say where the password is, as in "env:NAME" or "file:/path"'
            )
        return
    try:
        check_reference(entry.credential)
    except CredentialError as error:
        problems.add(key, str(error))


def _check_target(target: TargetConfig, path: str, problems: Problems) -> None:
    if not problems.touch(f"{path}.tls_ca"):
        _check_readable(target.tls_ca, f"{path}.tls_ca", problems)


def _check_listen(config: Config, problems: Problems) -> None:
    users: dict[str, str] = {}
    if config.process.admin_listen:
        _check_address(
            config.process.admin_listen, "process.admin_listen", users, problems, unix=False
        )
    for proxy in config.proxy.values():
        for index, endpoint in enumerate(proxy.endpoint):
            path = f"proxy.{proxy.name}.endpoint[{index}].listen"
            _check_address(endpoint.listen, path, users, problems, unix=True)


def _check_address(
    listen: str, path: str, users: dict[str, str], problems: Problems, *, unix: bool
) -> None:
    if problems.touch(path):
        return
    try:
        address = parse_listen(listen)
    except (ConfigError, ValueError) as error:
        problems.add(path, str(error))
        return
    if address.path and not unix:
        problems.add(path, f"{show(listen)} must be host:port, not a Unix socket")
    elif len(address.path.encode()) > MAX_SOCKET_PATH_BYTES:
        problems.add(path, f"the path is longer than {MAX_SOCKET_PATH_BYTES} bytes")
    elif address.path or address.port:
        _check_taken(address, path, users, problems)


def _check_taken(
    address: ListenAddress, path: str, users: dict[str, str], problems: Problems
) -> None:
    other = users.setdefault(address.path or str(address).lower(), path)
    if other != path:
        problems.add(path, f"{show(str(address))} is taken by {other}; choose another address")
