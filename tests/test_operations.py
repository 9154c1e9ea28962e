"""docs/operations.md and deploy/ say what the code does."""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from proxy.config.model import (
    AuthConfig,
    EndpointConfig,
    ProcessConfig,
    ProxyConfig,
    TargetConfig,
    TargetGroupConfig,
)

ROOT = Path(__file__).resolve().parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
LOGGERS = {"_tell", "_event", "event"}
"""Functions whose first text argument is the name of an event."""

LOGGED_OTHERWISE = {"log", "log_records_dropped", "upkeep_failed"}
"""Events that no call of ``LOGGERS`` names."""

MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))


def logged_events() -> set[str]:
    """Give the names of all events that the sources log."""
    found: set[str] = set()
    for path in (ROOT / "proxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            name = function.id if isinstance(function, ast.Name) else name
            texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
            if name in LOGGERS:
                found |= {text for text in texts if isinstance(text, str)}
    return found


def documented_events() -> set[str]:
    """Give the names in the first column of the table of events."""
    table = OPERATIONS.partition("| event | level | when |")[2].partition("\n\n")[0]
    return {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])
    }


def test_every_event_is_documented_and_no_other() -> None:
    logged = logged_events() | LOGGED_OTHERWISE
    assert logged - documented_events() == set()
    assert documented_events() - logged == set()


def known(model: type) -> set[str]:
    return {field.name for field in fields(model)}


def check_keys(text: str) -> None:
    """Fail if a configuration has a key that the model has not."""
    config: dict[str, Any] = tomllib.loads(text)
    assert set(config) <= {"process", "proxy"}
    assert set(config.get("process", {})) <= known(ProcessConfig)
    assert config["proxy"]
    for proxy in config["proxy"].values():
        assert set(proxy) <= known(ProxyConfig) - {"name"}
        assert set(proxy.get("target_group", {})) <= known(TargetGroupConfig)
        for key, model in (
            ("endpoint", EndpointConfig),
            ("auth", AuthConfig),
            ("target", TargetConfig),
        ):
            assert proxy[key]
            for entry in proxy[key]:
                assert set(entry) <= known(model)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_configurations_in_manifests(path: Path) -> None:
    block = re.search(r"tidegate\.toml: \|\n((?:    .*\n|\n)+)", path.read_text())
    assert block is not None
    check_keys(textwrap.dedent(block[1]))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_pods_get_time_to_drain(path: Path) -> None:
    text = path.read_text()
    grace = re.search(r"terminationGracePeriodSeconds: (\d+)", text)
    drain = re.search(r"shutdown_grace_s = (\d+)", text)
    pause = re.search(r'"sleep", "(\d+)"', text)
    assert grace is not None
    assert drain is not None
    assert int(grace[1]) > int(drain[1]) + (int(pause[1]) if pause else 0) + 5


def test_the_unit_gives_time_to_drain() -> None:
    unit = (ROOT / "deploy" / "systemd" / "tidegate.service").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > ProcessConfig().shutdown_grace_s + 5


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", OPERATIONS):
        if target != "configuration.md":  # Generated.
            assert (ROOT / "docs" / target).exists(), target
