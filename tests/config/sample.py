"""Configurations for the tests."""

from __future__ import annotations

SMALL = """\
[[proxy.orders.endpoint]]
listen = "127.0.0.1:6432"

[[proxy.orders.auth]]
user = "app"
credential = "env:APP_PASSWORD"

[[proxy.orders.target]]
host = "127.0.0.1"
"""
"""The least that can be used."""


def with_proxy(lines: str) -> str:
    """Give the small configuration with lines in ``[proxy.orders]``."""
    return f"[proxy.orders]\n{lines}\n{SMALL}"


def with_group(lines: str) -> str:
    """Give the small configuration with lines in the target group."""
    return f"{SMALL}\n[proxy.orders.target_group]\n{lines}\n"


def with_process(lines: str) -> str:
    """Give the small configuration with lines in ``[process]``."""
    return f"[process]\n{lines}\n{SMALL}"


PROCESS = """
[process]
admin_listen = ""
shutdown_grace_s = 0.2

[proxy.main]
idle_client_timeout_s = {idle}

[[proxy.main.endpoint]]
listen = "127.0.0.1:{port}"

[[proxy.main.auth]]
user = "app"
credential = "static:secret"

[proxy.main.target_group]
max_connections = {budget}
pool_mode = "{mode}"

[[proxy.main.target]]
host = "127.0.0.1"
port = 1
"""


def process_text(port: int = 0, idle: int = 60, budget: int = 5, mode: str = "transaction") -> str:
    """Give a configuration to run a process with that has no database."""
    return PROCESS.format(port=port, idle=idle, budget=budget, mode=mode)
