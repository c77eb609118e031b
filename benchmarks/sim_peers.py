"""The environment in which the simulated world and its peers are measured side by side.

simloop, simloom and seedloop need Python 3.12, so a virtual environment of such an interpreter
is made once in ``.cache/sim-peers``, with this checkout and the peers in it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".cache" / "sim-peers"
PEERS = ["simloop==0.2.2", "simloom==0.5.0", "seedloop==0.4.1", "websockets>=13"]


def interpreter() -> str | None:
    """An interpreter of 3.12 or newer; None when there is none."""
    if sys.version_info >= (3, 12):
        return sys.executable
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3.1[23].*/bin/python"))
    return str(pyenv[0]) if pyenv else shutil.which("python3.12") or shutil.which("python3.13")


def python() -> Path | None:
    """The interpreter that has ours and the peers; made at the first call."""
    found = VENV / "bin" / "python"
    if not found.exists():
        base = interpreter()
        if base is None:
            return None
        print("installing the peers into .cache/sim-peers ...", file=sys.stderr)
        subprocess.run([base, "-m", "venv", VENV], check=True)
        pip = [found, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEERS, "-e", str(ROOT)], check=True, stderr=subprocess.DEVNULL)
    return found
