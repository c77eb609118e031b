"""Glob patterns of paths, with ``**`` for any depth, as the write-through list has them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

_PRUNED = frozenset(
    {".git", ".hg", ".venv", "venv", ".tox", ".nox", "node_modules", "__pycache__", "site-packages"}
)
_WILD = re.compile(r"[*?\[]")


class PathPatterns:
    """A set of patterns; relative ones are meant below ``root``. A pattern that matches a
    directory matches all below it.

    >>> patterns = PathPatterns("/p", ["**/.coverage*", "snapshots", "/elsewhere/*.xml"])
    >>> patterns.match("/p/.coverage"), patterns.match("/p/a/b/.coverage.host")
    (True, True)
    >>> patterns.match("/p/snapshots/a/b"), patterns.match("/p/a/snapshots")
    (True, False)
    >>> patterns.match("/elsewhere/junit.xml")
    True
    """

    def __init__(self, root: str, patterns: Iterable[str]) -> None:
        self._root = root
        self._patterns = [os.path.normpath(os.path.join(root, p)) for p in patterns if p.strip()]
        whole = "|".join(_expression(pattern) for pattern in self._patterns)
        self._match = re.compile(f"(?:{whole})(?:/.*)?" if whole else r"(?!)", re.DOTALL)

    def match(self, path: str) -> bool:
        """Whether the absolute ``path``, or a directory above it, matches."""
        return self._match.fullmatch(path) is not None

    def directories(self) -> Iterator[str]:
        """Existing directories that match, the outermost of nested ones."""
        for pattern in self._patterns:
            if not _WILD.search(pattern) and os.path.isdir(pattern):
                yield pattern
        if any(_WILD.search(pattern) for pattern in self._patterns):
            yield from self._walk(self._root)

    def _walk(self, folder: str) -> Iterator[str]:
        try:
            entries = [e for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for entry in entries:
            if self.match(entry.path):
                yield entry.path
            elif entry.name not in _PRUNED:
                yield from self._walk(entry.path)


def _expression(pattern: str) -> str:
    result = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern):
        if part == "**/":
            result += "(?:.*/)?"
        elif part == "**":
            result += ".*"
        elif part == "*":
            result += "[^/]*"
        elif part == "?":
            result += "[^/]"
        elif part.startswith("["):
            result += part.replace("[!", "[^")
        else:
            result += re.escape(part)
    return result
