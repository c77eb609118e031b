"""Releases of other people's clients at a pinned version: fetched once into ``.cache/releases``."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_CACHE = ROOT / ".cache" / "releases"


def wheel(name: str, version: str) -> Path:
    """A folder from which that release can be imported; a skip when it cannot be had."""
    folder = _CACHE / f"{name}-{version}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with open(_CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = _CACHE / f"{name}-{version}.new"
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
            done = subprocess.run(
                [*command, str(fresh), "--disable-pip-version-check", f"{name}=={version}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"missing tool: pip could not fetch {name} {version}: {done.stderr}")
            fresh.rename(folder)
    return folder


def sdist(name: str, version: str) -> Path:
    """The unpacked source of that release, with its tests; a skip when it cannot be had."""
    folder = _CACHE / f"{name}-{version}-source"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with open(_CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = _CACHE / f"{name}-{version}-source.new"
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary"]
            done = subprocess.run(
                [*command, name, "-d", str(fresh), f"{name}=={version}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"missing tool: pip could not fetch {name} {version}: {done.stderr}")
            with tarfile.open(next(fresh.glob("*.tar.gz"))) as archive:
                archive.extractall(fresh, filter="data")
            next(path for path in fresh.iterdir() if path.is_dir()).rename(folder)
            shutil.rmtree(fresh)
    return folder


__all__ = ["ROOT", "sdist", "wheel"]
