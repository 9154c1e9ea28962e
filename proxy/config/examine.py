"""What ``tidegate check`` finds out beyond the file: addresses, certificates, secrets, doubts.

Nothing is changed, nothing listens, and no database is contacted.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.credentials.reference import redact, split
from proxy.credentials.registry import BUILT_IN, open_provider
from proxy.errors import ConfigError, CredentialError
from proxy.net.address import ListenAddress, parse_listen, refuse_public
from proxy.net.tls import ServerTls, client_context

if TYPE_CHECKING:
    from proxy.config.model import AuthConfig, Config, ProxyConfig, TargetConfig

_DEFAULT_METHODS: Final = {"postgresql": "scram-sha-256", "mysql": "the server's method"}
_DEFAULT_PORTS: Final = {"postgresql": 5432, "mysql": 3306}

FETCH_TIMEOUT_S: Final = 10.0
"""Seconds that a source of secrets gets to answer."""


@dataclass(slots=True)
class Findings:
    """What ``examine`` found."""

    summary: list[str] = field(default_factory=list)
    """The configuration in short, a line each."""
    warnings: list[str] = field(default_factory=list)
    """What works but may not be meant; each begins with the path of the key."""
    failures: list[str] = field(default_factory=list)
    """Why it cannot be used; each begins with the path of the key."""


async def examine(config: Config) -> Findings:
    """Look at everything a configuration refers to."""
    findings = Findings()
    process = config.process
    if process.allow_public_bind:
        findings.warnings.append(
            "process.allow_public_bind: clients from public addresses are served"
        )
    if process.admin_listen:
        findings.summary.append(f"admin server on http://{process.admin_listen}")
        await _examine_listen(process.admin_listen, "process.admin_listen", config, findings)
    for proxy in config.proxy.values():
        await _examine_proxy(proxy, config, findings)
    return findings


async def _examine_proxy(proxy: ProxyConfig, config: Config, findings: Findings) -> None:
    path = f"proxy.{proxy.name}"
    group = proxy.target_group
    budget = f"at most {group.max_connections} server connections"
    if not group.max_connections:
        budget = f"{group.max_connections_percent}% of the connections the server allows"
    findings.summary.append(
        f"proxy {proxy.name}: {proxy.engine}, {group.pool_mode} pooling, {budget}"
    )
    for index, endpoint in enumerate(proxy.endpoint):
        findings.summary.append(f"  endpoint {endpoint.listen}: {endpoint.role}, {_offer(proxy)}")
        key = f"{path}.endpoint[{index}].listen"
        address = await _examine_listen(endpoint.listen, key, config, findings)
        if not proxy.tls_cert and not _is_local(address):
            findings.warnings.append(f"{key}: reachable over the network without TLS")
    _examine_certificate(proxy, path, findings)
    earlier: set[str] = set()
    for index, entry in enumerate(proxy.auth):
        await _examine_auth(entry, f"{path}.auth[{index}]", proxy, earlier, findings)
        earlier.add(entry.user)
    for index, target in enumerate(proxy.target):
        _examine_target(target, f"{path}.target[{index}]", proxy.engine, findings)


def _offer(proxy: ProxyConfig) -> str:
    if not proxy.tls_cert:
        return "no TLS"
    return "TLS required" if proxy.require_tls else "TLS offered"


def _is_local(address: ListenAddress) -> bool:
    return bool(address.path) or is_local_host(address.host)


def is_local_host(host: str) -> bool:
    """Whether a host, by its name alone, is this machine; "/..." is a Unix socket."""
    return host in ("localhost", "::1") or host.startswith(("127.", "/"))


async def _examine_listen(
    listen: str, path: str, config: Config, findings: Findings
) -> ListenAddress:
    address = parse_listen(listen)
    if not config.process.allow_public_bind:
        try:
            await refuse_public(address)
        except ConfigError as error:
            findings.failures.append(f"{path}: {error}")
    return address


def _examine_certificate(proxy: ProxyConfig, path: str, findings: Findings) -> None:
    if not proxy.tls_cert:
        return
    try:
        ServerTls(proxy.tls_cert, proxy.tls_key)
    except ConfigError as error:
        findings.failures.append(f"{path}.tls_cert: {error}")
    if _world_readable(proxy.tls_key):
        findings.warnings.append(f"{path}.tls_key: every user of the system may read the file")


async def _examine_auth(
    entry: AuthConfig, path: str, proxy: ProxyConfig, earlier: set[str], findings: Findings
) -> None:
    if "*" in earlier or entry.user in earlier:
        findings.warnings.append(
            f"{path}.user: never used, an earlier entry matches first; the first match wins"
        )
    if entry.client_auth == "trust":
        whence = "anywhere" if entry.allow_trust_from_network else "this machine"
        findings.warnings.append(
            f"{path}.client_auth: clients from {whence} log in without a password"
        )
    if entry.client_auth == "password" and not proxy.tls_cert:
        findings.warnings.append(
            f"{path}.client_auth: nobody can log in, for password needs TLS and there is no "
            "certificate"
        )
    if entry.client_auth == "md5":
        findings.warnings.append(f"{path}.client_auth: md5 is weak; prefer scram-sha-256")
    reachable = "no credential"
    if entry.credential:
        reachable = await _examine_credential(entry, f"{path}.credential", findings)
    method = entry.client_auth or _DEFAULT_METHODS[proxy.engine]
    findings.summary.append(f"  user {entry.user}: {method}, {reachable}")


async def _examine_credential(entry: AuthConfig, path: str, findings: Findings) -> str:
    """Try to fetch a secret; give a phrase that says how that went, without it."""
    shown = redact(entry.credential)
    scheme, _ = split(entry.credential)
    if scheme == "static":
        findings.warnings.append(f"{path}: the secret is in the configuration file")
    try:
        provider = open_provider(entry.credential)
        if entry.user == "*" and scheme not in BUILT_IN:
            return f"{shown} depends on the user, not tried"
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            await provider.fetch(entry.user)
    except CredentialError as error:
        findings.failures.append(f"{path}: {error}")
        return f"{shown} not reachable"
    except TimeoutError:
        findings.failures.append(f"{path}: {shown} did not answer in {FETCH_TIMEOUT_S:g} seconds")
        return f"{shown} not reachable"
    except Exception as error:
        # A plug-in's mistake; the error's text may hold the secret.
        findings.failures.append(f"{path}: {shown} failed: {type(error).__name__}")
        return f"{shown} not reachable"
    # Plug-ins may offer it too.
    world_readable = getattr(provider, "is_world_readable", None)
    if world_readable is not None and world_readable():
        findings.warnings.append(f"{path}: {shown} may be read by every user of the system")
    return f"{shown} reachable"


def _examine_target(target: TargetConfig, path: str, engine: str, findings: Findings) -> None:
    port = target.port or _DEFAULT_PORTS[engine]
    address = f"{target.host}:{port}"
    if target.host.startswith("/"):
        address = f"unix:{target.host}"
        if engine == "postgresql":
            address += f"/.s.PGSQL.{port}"
    findings.summary.append(f"  target {address}: TLS {target.tls}")
    try:
        client_context(target.tls, target.tls_ca)
    except ConfigError as error:
        findings.failures.append(f"{path}.tls_ca: {error}")
    if target.tls_ca and target.tls in ("disable", "prefer"):
        findings.warnings.append(f'{path}.tls_ca: without effect with tls = "{target.tls}"')
    if target.tls in ("disable", "prefer") and not is_local_host(target.host):
        findings.warnings.append(
            f'{path}.tls: "{target.tls}" does not protect the way to the database; '
            '"verify-full" does'
        )


def _world_readable(file: str) -> bool:
    try:
        return bool(os.stat(file).st_mode & stat.S_IROTH)
    except OSError:
        return False
