"""Schemes, built in and plugged in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from proxy.credentials.env import EnvironmentProvider
from proxy.credentials.file import FileProvider
from proxy.credentials.registry import check_reference, known_schemes, open_provider
from proxy.credentials.static import StaticProvider
from proxy.errors import CredentialError

if TYPE_CHECKING:
    from pathlib import Path

PLUG_IN = """\
from proxy.credentials.base import Credential
from proxy.errors import CredentialError

class Vault:
    def __init__(self, rest):
        if rest == "refuse":
            raise CredentialError("vault: refused")
        if rest == "break":
            raise RuntimeError("the reference was " + rest)
        self.rest = rest

    async def fetch(self, user):
        return Credential(f"{self.rest} of {user}")

    def changed(self):
        return False
"""
ENTRY_POINTS = """\
[tidegate.credentials]
vault = tidegate_test_vault:Vault
broken = tidegate_test_gone:Nothing
env = tidegate_test_vault:Vault
"""


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plug-in that works, one that does not, and one after a built-in's name."""
    metadata = tmp_path / "tidegate_test_vault-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "tidegate_test_vault.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tidegate_test_vault", raising=False)


@pytest.mark.parametrize(
    ("reference", "provider"),
    [("static:a", StaticProvider), ("env:A", EnvironmentProvider), ("file:/a", FileProvider)],
)
def test_built_in_schemes_need_no_metadata(reference: str, provider: type) -> None:
    assert isinstance(open_provider(reference), provider)
    check_reference(reference)


@pytest.mark.parametrize("use", [open_provider, check_reference])
def test_an_unknown_scheme_lists_the_known_ones_and_repeats_nothing(use: object) -> None:
    assert callable(use)
    with pytest.raises(CredentialError) as caught:
        use("hunter:x")
    assert str(caught.value) == "its scheme is unknown; known are env, file, static"
    with pytest.raises(CredentialError, match=r'did you mean "file:"\?$'):
        use("flie:/a")


def test_a_bad_reference_of_a_built_in_scheme_is_found_without_fetching() -> None:
    with pytest.raises(CredentialError, match="absolute"):
        check_reference("file:a")
    with pytest.raises(CredentialError, match="must be a reference"):
        check_reference("secret")


@pytest.mark.usefixtures("plug_ins")
async def test_a_plug_in_is_imported_when_used() -> None:
    check_reference("vault:x")
    assert "tidegate_test_vault" not in sys.modules
    credential = await open_provider("vault:a:b").fetch("app")
    assert credential.secret == "a:b of app"


@pytest.mark.usefixtures("plug_ins")
def test_a_broken_plug_in_harms_only_itself() -> None:
    assert known_schemes() == ("broken", "env", "file", "static", "vault")
    check_reference("broken:x")
    with pytest.raises(CredentialError) as caught:
        open_provider("broken:hunter2")
    assert str(caught.value) == (
        'the plug-in tidegate_test_gone:Nothing of the scheme "broken" cannot be used: '
        "ModuleNotFoundError"
    )
    assert open_provider("vault:x")


@pytest.mark.usefixtures("plug_ins")
def test_a_plug_ins_errors_are_its_own_or_told_by_type() -> None:
    with pytest.raises(CredentialError, match=r"^vault: refused$"):
        open_provider("vault:refuse")
    with pytest.raises(CredentialError, match=r"RuntimeError$"):
        open_provider("vault:break")


@pytest.mark.usefixtures("plug_ins")
def test_a_plug_in_cannot_replace_a_built_in() -> None:
    assert isinstance(open_provider("env:A"), EnvironmentProvider)
