"""Virtual environments of the house: made when missing, filled when their list changed.

Standard library only, because it runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLEET = ROOT / "examples" / "fleet"
CACHE = ROOT / ".cache"
VERSIONS = ("3.11", "3.12", "3.13")


class SetupError(Exception):
    """An environment could not be made; the message says what to do."""


def ensure(folder: Path, python: str, packages: list[str]) -> Path:
    """The interpreter of the environment at ``folder``, with the house and ``packages`` in it.

    Nothing is done when the environment was last filled from the same lists.

    :raises SetupError: when there is no venv module, or pip fails.
    """
    interpreter = folder / "bin" / "python"
    stamp = folder / ".filled-from"
    with _locked(folder):
        if not _starts(interpreter):
            _create(folder, python)
        wanted = _fingerprint(interpreter, packages)
        if not stamp.exists() or wanted not in stamp.read_text().split():
            _install(interpreter, packages)
            # What a smaller list asks for is there as well, so earlier stamps stay true as
            # long as the project files are the same.
            kept = stamp.read_text().split() if stamp.exists() else []
            stamp.write_text("\n".join([*kept[-3:], wanted]) + "\n")
    return interpreter


def run_packages() -> list[str]:
    """What ``make run`` needs besides the house."""
    return ["-e", f"{FLEET}[test]"]


def group(name: str) -> list[str]:
    """A dependency group of pyproject.toml, with the groups it includes."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    found: list[str] = []
    for entry in groups[name]:
        found += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return found


def interpreters() -> dict[str, str]:
    """The interpreters found on PATH or under pyenv, by minor version."""
    found = {}
    for version in VERSIONS:
        for candidate in _candidates(version):
            if version_of(candidate) == version:
                found[version] = str(candidate)
                break
    return found


def _candidates(version: str) -> Iterator[Path]:
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    patch = {p: int(p.name.rsplit(".", 1)[1]) for p in pyenv.glob(f"{version}.*") if _release(p)}
    for folder in sorted(patch, key=lambda p: patch[p], reverse=True):
        yield folder / "bin" / "python"


def _release(folder: Path) -> bool:
    return re.fullmatch(r"\d+\.\d+\.\d+", folder.name) is not None


def version_of(python: Path) -> str:
    """``3.12``, or nothing when it does not start."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _starts(python: Path) -> bool:
    return python.exists() and version_of(python) >= VERSIONS[0]


def _create(folder: Path, python: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(
        [python, "-m", "venv", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise SetupError(
            f"{python} cannot make a virtual environment\n"
            f"  found: {(done.stdout + done.stderr).strip()}\n"
            "  to fix: on Debian and Ubuntu, apt install python3-venv"
        )


def _install(python: Path, packages: list[str]) -> None:
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "-e", str(ROOT), *packages],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SetupError(f"pip could not fill {python.parent.parent}\n{done.stdout}")


def _fingerprint(python: Path, packages: list[str]) -> str:
    digest = hashlib.sha256()
    for part in (
        str(ROOT),
        str(python.resolve()),
        version_of(python),
        *packages,
        (ROOT / "pyproject.toml").read_text(),
        (FLEET / "pyproject.toml").read_text(),
    ):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main_interpreter() -> Path:
    """The interpreter of ``.venv``, wherever the calling script runs."""
    return ROOT / ".venv" / "bin" / "python"


def base_python() -> str:
    """The interpreter this script runs on, outside any environment."""
    return getattr(sys, "_base_executable", None) or sys.executable
