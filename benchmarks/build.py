"""The proxy as its users get it: a wheel of this checkout, in an environment of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FOLDER = ROOT / ".cache" / "benchmarks"


def digest(root: Path) -> str:
    """Return a checksum of everything that decides what the wheel does."""
    seen = hashlib.sha256(sys.version.encode())
    for path in [root / "pyproject.toml", root / "hatch_build.py", *root.glob("proxy/**/*.py")]:
        seen.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return seen.hexdigest()


def installed(*, compiled: bool) -> Path:
    """Install this checkout unless that is done; return the ``tidegate`` program.

    The compiled twin must compile; the interpreted twin is installed without the build hook.
    """
    folder = _FOLDER / ("compiled" if compiled else "interpreted")
    stamp = folder / "digest"
    program = folder / "bin" / "tidegate"
    if stamp.exists() and stamp.read_text() == digest(ROOT):
        return program
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    environment = {**os.environ}
    if compiled:
        environment["TIDEGATE_REQUIRE_COMPILED"] = "1"
    else:
        environment["HATCH_BUILD_NO_HOOKS"] = "true"
    command = [str(folder / "bin" / "pip"), "install", "--quiet", "--quiet", str(ROOT)]
    subprocess.run(command, check=True, env=environment)
    stamp.write_text(digest(ROOT))
    return program


def description(program: Path) -> str:
    """Return the program's own words on its version, twin and event loop."""
    run = subprocess.run([str(program), "version"], capture_output=True, text=True, check=True)
    return run.stdout.strip()
