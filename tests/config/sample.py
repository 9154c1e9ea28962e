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
