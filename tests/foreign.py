"""Other people's releases at a pinned version, and the box in which their code runs.

A release is fetched once into ``.cache/releases``. Fetching happens in the box too: to learn the
version of a source distribution, pip runs its code.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = ROOT / ".venv-frameworks" / "bin" / "python"
_CACHE = ROOT / ".cache" / "releases"


def box(*writable: Path, network: bool = False) -> list[str]:
    """The words before a command of foreign code: read-only but for these folders, a throw-away
    home, and no network but a loopback of its own unless asked for; a skip without bubblewrap."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("missing tool: bwrap (bubblewrap)")
    home = os.path.expanduser("~")
    words = [bwrap, "--die-with-parent", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev"]
    words += ["--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", home, "--setenv", "HOME", home]
    words += ["--setenv", "TMPDIR", "/tmp"]
    # What is needed of the home that is hidden, and of /tmp.
    for path in sorted({sys.base_prefix, sys.prefix, str(ROOT), *_base_prefixes()}):
        if path.startswith((home, "/tmp")):
            words += ["--ro-bind", path, path]
    for folder in writable:
        words += ["--bind", str(folder), str(folder)]
    if not network:
        words += ["--unshare-net"]
    return words


def _base_prefixes() -> list[str]:
    """Of the interpreter that the frameworks' environment was made of."""
    return [str(FRAMEWORKS.resolve().parents[1])] if FRAMEWORKS.exists() else []


def release(name: str, version: str, *, source: bool = False) -> Path:
    """The folder from which that release can be imported; a skip when it cannot be had.

    :param source: its source distribution, which has its tests.
    """
    folder = _CACHE / f"{name}-{version}{'-source' if source else ''}"
    with alone():
        if not folder.exists():
            _unpack(_download(name, version, source), folder)
    return folder


@contextlib.contextmanager
def alone() -> Generator[None, None, None]:
    """One at a time, of all the suites that run side by side: what they share is being made."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with open(_CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(name: str, version: str, source: bool) -> Path:
    into = _CACHE / f"download-{name}-{version}"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir"]
    pip += ["--disable-pip-version-check", *(["--no-binary", name] if source else [])]
    command = [*box(into, network=True), *pip, "-d", str(into), f"{name}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip()[-300:]
        pytest.skip(f"missing tool: pip could not fetch {name} {version}: {reason}")
    (archive,) = into.iterdir()
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    fresh = archive.parent / "unpacked"
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(fresh)
        fresh.rename(folder)
    else:
        with tarfile.open(archive) as sdist:
            sdist.extractall(fresh, filter="data")
        (inner,) = fresh.iterdir()
        inner.rename(folder)
    shutil.rmtree(archive.parent)


def frameworks() -> Path:
    """The interpreter whose environment has the frameworks; a skip where it was not set up."""
    if not FRAMEWORKS.exists():
        pytest.skip(f"missing tool: {FRAMEWORKS.parents[1].name}, which `make test` sets up")
    return FRAMEWORKS
