"""Releases of other people's packages, at a pinned version, for proofs on code nobody here wrote.

They are downloaded once into ``.cache/releases`` and unpacked there; nothing is installed. A proof
runs in a process of its own, in which the folder comes first on ``sys.path``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
CACHE = _ROOT / ".cache" / "releases"
HERE = Path(__file__).parent / "releases"


def release(name: str, version: str) -> Path:
    """The folder from which that release can be imported; a skip when it cannot be had."""
    folder = CACHE / f"{name}-{version}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _unpack(_download(name, version), folder)
    return folder


def _download(name: str, version: str) -> Path:
    into = CACHE / f"download-{name}-{version}"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(into),
         "--disable-pip-version-check", f"{name}=={version}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:]
        pytest.skip(f"missing tool: pip could not download {name} {version}: {reason}")
    return next(into.iterdir())


def _unpack(archive: Path, folder: Path) -> None:
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(fresh)
        fresh.rename(folder)
    else:
        with tarfile.open(archive) as sdist:
            sdist.extractall(fresh, filter="data")
        (inner,) = fresh.iterdir()
        inner.rename(folder)
        fresh.rmdir()
    shutil.rmtree(archive.parent)


def soaking() -> bool:
    """Whether ``make soak`` asks for the long version of a proof."""
    return os.environ.get("WINDTUNNEL_SOAK") == "1"


def prove(
    pytester: pytest.Pytester, file: str, seeds: int, *releases: tuple[str, str]
) -> pytest.RunResult:
    """Run ``releases/<file>`` under so many seeds, with these releases before any installed."""
    pytester.makepyfile(**{f"test_{file.removesuffix('.py')}": (HERE / file).read_text()})
    path = os.pathsep.join(str(release(*each)) for each in releases)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        return pytester.runpytest_subprocess(
            f"--wt-seeds={seeds}",
            "-p",
            "no:cacheprovider",
            "--color=no",
            timeout=1200 if soaking() else 120,
        )


def seeds_run(pytester: pytest.Pytester) -> int:
    """Under how many seeds the proof was run, by what its run recorded."""
    export = pytester.run(sys.executable, "-m", "windtunnel", "record", "export")
    events = [json.loads(line) for line in export.outlines]
    (sample,) = [event for event in events if event.get("name") == "simulated.seeds"]
    return int(sample["value"])
