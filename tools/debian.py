"""The Debian packages whose programs the tests drive, and installing them where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# package: how its presence is seen, by a program on PATH or a file pattern
NEEDED = {
    "redis-server": "redis-server",
    "postgresql": "/usr/lib/postgresql/*/bin/initdb",
    "bubblewrap": "bwrap",
    "libfaketime": "/usr/lib/*/faketime/libfaketime.so.1",
}


def missing() -> list[str]:
    """The packages that are not there."""
    return [package for package, sign in NEEDED.items() if not _there(sign)]


def install_missing() -> str:
    """Install what is missing where this is root on Debian; says what was done or left out.

    Tests whose tools are still missing skip with their reason (and fail under ``CI=true``).
    """
    packages = missing()
    if not packages:
        return "all there"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"left out, for they need root: apt-get install {' '.join(packages)}"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    output = ""
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-q", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        output = done.stdout
    still = missing()
    return f"could not install {', '.join(still)}\n{output}" if still else "installed"


def _there(sign: str) -> bool:
    if sign.startswith("/"):
        return any(Path("/").glob(sign[1:]))
    return shutil.which(sign) is not None
