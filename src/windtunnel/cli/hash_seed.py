"""Starting this command again under another PYTHONHASHSEED, which a process cannot change."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def pinned() -> bool:
    """Whether this process's hash seed is one that another process can be given."""
    return os.environ.get("PYTHONHASHSEED", "").isdigit()


def restart_with(hash_seed: str, command: Sequence[str]) -> None:
    """Replace this process by the same command under that hash seed; no more than once.

    :param command: the words after ``windtunnel``.
    """
    if os.environ.get("PYTHONHASHSEED") == hash_seed:
        return
    words = ["-m", "windtunnel", *command]
    if sys.argv[1:] == list(command):  # with what stands before it: `coverage run -m ...`
        words = sys.orig_argv[1:]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *words], {**os.environ, "PYTHONHASHSEED": hash_seed})
