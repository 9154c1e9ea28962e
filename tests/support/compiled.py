"""Compile the hot modules in a copy of the checkout and run the tests there.

``python -m tests.support.compiled [pytest arguments]``; without a path among them it plays what
``chosen_tests`` gives. The copy keeps ``.so`` files out of the source tree, where stale ones would
shadow edits. Which modules are compiled is read from the mypyc build hook in ``pyproject.toml``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / ".cache" / "compiled"
NOT_COPIED = shutil.ignore_patterns(
    "__pycache__", "*.so", ".git", ".venv*", ".cache", ".*_cache", ".hypothesis"
)


def chosen_tests() -> list[str]:
    """Give all tests but the slow ones: of the integration tests only the drivers'.

    The differential ones are among them: they compare bytes, so a twin's slip shows.
    """
    slow = {"integration", "soak", "support", "__pycache__"}
    paths = [path for path in (ROOT / "tests").iterdir() if path.name not in slow]
    quick = [path.name for path in paths if path.is_dir() or path.name.startswith("test_")]
    # Played with the interpreted twin: the demonstration, which runs processes of its own, and
    # MySQL's scripts, of which the random ones are made.
    left_out = ("tests/demo/test_demo.py", "tests/differential/mysql/test_scripts.py")
    return [
        *(f"tests/{name}" for name in sorted(quick)),
        "tests/integration/test_drivers.py",
        *(f"--ignore={path}" for path in left_out),
    ]


def compiled_modules(root: Path = ROOT) -> list[str]:
    """Give the paths, relative to the checkout, that the build hook compiles."""
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())
    build = table.get("tool", {}).get("hatch", {}).get("build", {})
    for owner in (build, build.get("targets", {}).get("wheel", {})):
        hook = owner.get("hooks", {}).get("custom")
        if hook is not None:
            return sorted({name.lstrip("/") for name in hook.get("include", [])})
    return []


def _digest(modules: list[str]) -> str:
    digest = hashlib.sha256(sys.version.encode() + repr(modules).encode())
    for path in sorted((ROOT / "proxy").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build(modules: list[str]) -> None:
    """Make the copy and compile in it, unless it is compiled from the same sources already."""
    stamp = COPY / "digest"
    digest = _digest(modules)
    fresh = stamp.exists() and stamp.read_text() == digest
    if not fresh:
        shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(ROOT, COPY, dirs_exist_ok=True, ignore=NOT_COPIED)
    if not fresh:
        # setuptools, which mypyc runs, would trip over a pyproject.toml that is not meant for it.
        (COPY / "pyproject.toml").unlink(missing_ok=True)
        mypyc = Path(sys.executable).with_name("mypyc")
        command = [str(mypyc), "--strict", "--ignore-missing-imports", *modules]
        environment = {**os.environ, "MYPYC_OPT_LEVEL": "1"}
        run = subprocess.run(command, cwd=COPY, capture_output=True, text=True, env=environment)
        if run.returncode != 0:
            raise SystemExit(f"mypyc failed:\n{run.stdout[-5000:]}{run.stderr[-5000:]}")
        stamp.write_text(digest)
    shutil.copy2(ROOT / "pyproject.toml", COPY)


def main(arguments: list[str]) -> int:
    """Build, then run pytest in the copy; returns its exit code."""
    modules = compiled_modules()
    if not modules:
        print("=== NOT COMPILED: pyproject.toml has no mypyc build hook ===")
        return 0
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        print("=== COMPILED TWIN NOT TESTED: this machine has no C compiler ===")
        return 0
    build(modules)
    print(f"=== compiled twin: {len(modules)} modules ===", flush=True)
    # The same random scripts are played by the other twin; a few of each show a slip.
    environment = {"TIDEGATE_RANDOM_SCRIPTS": "12", **os.environ, "TIDEGATE_REQUIRE_COMPILED": "1"}
    chosen = [] if any(word.startswith("tests") for word in arguments) else chosen_tests()
    command = [sys.executable, "-m", "pytest", "-q", *arguments, *chosen]
    return subprocess.run(command, cwd=COPY, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
