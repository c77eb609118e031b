"""Who owns a test, asked of git: whoever wrote its first line last."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_TIMEOUT_S = 10.0
_MAIL = re.compile(r"^author-mail <(.*)>$", re.MULTILINE)


def owner_of(nodeid: str, root: Path) -> str:
    """The mail address of the test's author, or of its file's; empty where git knows none."""
    file, _, rest = nodeid.partition("::")
    name = rest.rpartition("::")[2].partition("[")[0]
    path = root / file
    line = _line_of(path, name)
    if line:
        blamed = _git(root, "blame", "--porcelain", "-L", f"{line},{line}", "--", file)
        found = _MAIL.search(blamed)
        if found and found[1] != "not.committed.yet":
            return found[1]
    return _git(root, "log", "-1", "--format=%ae", "--", file).strip()


def _line_of(path: Path, name: str) -> int:
    """The line on which a function of that name is defined, 0 where there is none."""
    if not name:
        return 0
    definition = re.compile(rf"^\s*(?:async\s+)?def\s+{re.escape(name)}\s*\(", re.MULTILINE)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    found = definition.search(text)
    return text.count("\n", 0, found.end()) + 1 if found else 0


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
