"""What a result must say about where it was measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from benchmarks.build import ROOT


def first_line(*command: str) -> str:
    """Return the first line a program prints, or nothing where it cannot run."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
    except OSError:
        return ""
    return next(iter((run.stdout or run.stderr).splitlines()), "").strip()


def processor(cpuinfo: str) -> str:
    """Read the processor's name from ``/proc/cpuinfo``."""
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def facts(binaries: list[str]) -> dict[str, str]:
    """Return machine, versions and commit."""
    dirty = " with changes" if first_line("git", "status", "--porcelain", "proxy") else ""
    found = {
        "commit": first_line("git", "rev-parse", "--short", "HEAD") + dirty,
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for name in binaries:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
        if path:
            found[name] = first_line(path, "-v" if name == "haproxy" else "--version")
    return found
