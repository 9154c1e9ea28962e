"""The documents keep their word: configurations work as printed, links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.metrics.prometheus import Exposition
from proxy.metrics.snapshot import Snapshot
from tests.support.certificates import make_certificates

CHECKOUT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    CHECKOUT / "README.md",
    CHECKOUT / "CHANGELOG.md",
    *sorted((CHECKOUT / "docs").glob("*.md")),
]
_TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_METRIC = re.compile(r"`[^`\n]*?(tidegate_[a-z_]+)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = _HEADING.findall(document.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def whole_configurations() -> list[tuple[str, str]]:
    """Return every TOML block that configures a whole proxy, with the document it is in."""
    found = []
    for document in (CHECKOUT / "README.md", CHECKOUT / "docs" / "migrating.md"):
        for text in _TOML.findall(document.read_text(encoding="utf-8")):
            proxies = tomllib.loads(text).get("proxy", {})
            if any("endpoint" in proxy and "target" in proxy for proxy in proxies.values()):
                found.append((name(document), text))
    return found


def test_there_are_configurations_to_check() -> None:
    documents = [document for document, _ in whole_configurations()]
    assert documents.count("README.md") >= 2
    assert documents.count("docs/migrating.md") >= 2


@pytest.mark.parametrize(("document", "text"), whole_configurations())
def test_printed_configuration_passes_check(
    document: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = make_certificates(tmp_path)
    monkeypatch.setenv("APP_PASSWORD", "secret")
    (tmp_path / "password").write_text("secret")
    text = re.sub(r'"/etc/[^"]*\.crt"', f'"{certificates.certificate}"', text)
    text = re.sub(r'"/etc/[^"]*\.pem"', f'"{certificates.authority}"', text)
    text = re.sub(r'"/etc/[^"]*\.key"', f'"{certificates.key}"', text)
    text = re.sub(r'"file:/[^"]*"', f'"file:{tmp_path}/password"', text)
    file = tmp_path / "tidegate.toml"
    file.write_text(text)
    assert main(["check", "--config", str(file)]) == 0, document


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{name(document)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name(document)} links to {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_metrics_exist(document: Path) -> None:
    page = b"".join(Exposition(Snapshot).pieces()).decode()
    exposed = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    named = set(_METRIC.findall(document.read_text(encoding="utf-8")))
    assert {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in named} <= exposed
