"""What a figure was measured on: the machine, and the state of the code."""

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

UNKNOWN = "unknown"
ROOT = Path(__file__).parents[1]
# The code that figures depend on. Results and documents change without changing a figure.
_MEASURED = ("galahstream", "benchmarks", "setup.cfg", "constraints.txt", ":!benchmarks/results")


@dataclass(frozen=True)
class Machine:
    """Processor, memory, system and versions, and the day of the measurement."""

    date: str
    processor: str
    cores: int
    memory_gb: float
    system: str
    python: str
    versions: Mapping[str, str]

    @classmethod
    def current(cls) -> "Machine":
        """Describe this machine."""
        return cls(
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            processor=_processor(),
            cores=os.cpu_count() or 1,
            memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            versions={name: _version(name) for name in ("torch", "numpy", "numba", "h5py")},
        )


@dataclass(frozen=True)
class Code:
    """The commit that was measured, and whether the files were those of the commit.

    Attributes
    ----------
    commit : str
        Hash of the last commit that changed the package or its benchmarks;
        ``"unknown"`` outside a git checkout.
    is_clean : bool
        False if there were changes that are not in the commit.
    """

    commit: str
    is_clean: bool

    @classmethod
    def current(cls, root: Path = ROOT) -> "Code":
        """Describe the code in a checkout."""
        commit = _git(root, "log", "-1", "--format=%H", "--", *_MEASURED)
        if not commit:
            return cls(UNKNOWN, False)
        return cls(commit, _git(root, "status", "--porcelain", "--", *_MEASURED) == "")

    def __str__(self) -> str:
        if self.commit == UNKNOWN:
            return "an unknown commit"
        changes = "" if self.is_clean else " with uncommitted changes"
        return f"commit {self.commit[:10]}{changes}"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
