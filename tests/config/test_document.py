"""The generated documentation of the configuration."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from proxy.config.document import EXAMPLE, attribute_docs, render
from proxy.config.load import parse
from proxy.config.model import Config, ProxyConfig, TargetGroupConfig
from proxy.config.schema import keys_of
from proxy.credentials.registry import BUILT_IN
from tests.config.test_schema import MODELS

ROOT = Path(__file__).resolve().parents[2]

CONTRACT = {
    "process": {"workers", "admin_listen", "log_format", "shutdown_grace_s"},
    "proxy.orders": {
        "engine",
        "require_tls",
        "tls_cert",
        "tls_key",
        "idle_client_timeout_s",
        "debug_logging",
    },
    "proxy.orders.endpoint": {"listen", "role"},
    "proxy.orders.auth": {"user", "client_auth", "credential"},
    "proxy.orders.target_group": {
        "pool_mode",
        "max_connections",
        "max_idle_connections_percent",
        "connection_borrow_timeout_s",
        "init_query",
        "session_pinning_filters",
    },
    "proxy.orders.target": {"host", "port", "tls", "tls_ca"},
}
"""Names that stay as they are."""


def test_the_committed_file_is_up_to_date() -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text()
    assert committed == render(), "run `make docs`"


def test_the_module_writes_the_file() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "proxy.config.document"], capture_output=True, text=True, cwd=ROOT
    )
    assert (run.returncode, run.stdout) == (0, render())


def test_the_example_loads() -> None:
    config = parse(EXAMPLE, source="example")
    assert config.process == Config().process
    assert config.proxy["orders"].target_group == TargetGroupConfig(max_connections=20)
    assert EXAMPLE in render()


def test_the_example_has_every_name_of_the_contract() -> None:
    found: dict[str, set[str]] = {}
    table: set[str] = set()
    for line in EXAMPLE.splitlines():
        if heading := re.match(r"\[+([\w.]+)\]+", line):
            table = found.setdefault(heading[1], set())
        elif key := re.match(r"(\w+) = ", line):
            table.add(key[1])
    assert found == CONTRACT


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_described(model: type) -> None:
    docs = attribute_docs(model)
    assert set(docs) == {field.name for field in fields(model)}
    assert all(text.endswith(".") and "\n" not in text for text in docs.values())


def test_every_value_has_a_row_with_all_columns() -> None:
    text = render()
    rows = re.findall(r"^\| `(\w+)` \|.*$", text, re.MULTILINE)
    keys = [key.name for model in MODELS for key in keys_of(model).values() if key.table is None]
    assert sorted(rows) == sorted(keys)
    assert text.count("|---|---|---|---|---|") == len(MODELS) - 1
    for line in text.splitlines():
        if re.match(r"\| `\w+` \|", line):
            assert len(re.findall(r"(?<!\\)\|", line)) == 6, line


def test_a_row_says_range_default_and_reload() -> None:
    text = render()
    assert "| `port` | integer, from 0 to 65535 | `0` | no | TCP port" in text
    assert "| `shutdown_grace_s` | number, from 0 to 3600 | `30` | yes | Seconds" in text
    assert '| `log_format` | `"text"`, `"json"` | `"text"` | yes |' in text
    assert "| `host` | string | required | no |" in text


def test_docstrings_become_markdown() -> None:
    assert attribute_docs(ProxyConfig)["name"].startswith("The table's name in the file, of ")
    assert not re.search(r"(?<!`)``(?!`)", render())


def test_every_built_in_scheme_is_described() -> None:
    text = render()
    assert all(f"| `{scheme}:" in text for scheme in BUILT_IN)
