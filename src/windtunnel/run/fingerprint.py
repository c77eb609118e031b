"""Which code ran where: commit, content hash of the working tree, environment.

Two runs with equal ``tree`` ran the same code: a test that passes in one and fails in the other
is flaky beyond argument. The hash therefore takes in every tracked file as it lies in the working
tree, and untracked files only where they are code or configuration, since test runs themselves
leave other files about.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_CODE = (".py", ".pyi", ".pyx", ".toml", ".cfg", ".ini", ".c", ".rs")
_SKIPPED_DIRS = frozenset({"node_modules", "__pycache__", "build", "dist", "site-packages"})
_MOST_FILES = 5_000

_CI_VARIABLES = (
    ("GITHUB_ACTIONS", "github"),
    ("GITLAB_CI", "gitlab"),
    ("BUILDKITE", "buildkite"),
    ("CIRCLECI", "circleci"),
    ("JENKINS_URL", "jenkins"),
    ("TF_BUILD", "azure"),
    ("CI", "ci"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """A fingerprint, taken. The fields are those of :class:`windtunnel.core.RunStarted`."""

    commit: str
    tree: str
    environment: str
    environment_text: str
    ci: str


class Fingerprint:
    """Starts git when made and reads its answers when taken, so that git's time is hidden."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._git = {
            "commit": _git(root, "rev-parse", "HEAD"),
            "index": _git(root, "ls-files", "-s", "-z"),
            "changed": _git(root, "status", "--porcelain", "-z", "--no-renames", "."),
            "top": _git(root, "rev-parse", "--show-toplevel"),
        }

    def take(self) -> Facts:
        """The facts, at the latest now."""
        answers = {name: _answer(process) for name, process in self._git.items()}
        text = environment_text()
        return Facts(
            commit=(answers["commit"] or b"").decode().strip(),
            tree=self._tree(answers),
            environment=_digest([text.encode(), *sorted(_distributions())]),
            environment_text=text,
            ci=next((name for key, name in _CI_VARIABLES if os.environ.get(key)), ""),
        )

    def _tree(self, answers: dict[str, bytes | None]) -> str:
        index, changed, top = answers["index"], answers["changed"], answers["top"]
        if index is None or changed is None or top is None:
            return _digest(_walked(self._root))
        parts = [index]
        for entry in sorted(changed.split(b"\0")):
            status, name = entry[:2], os.fsdecode(entry[3:])
            path = Path(os.fsdecode(top.strip())) / name
            if status == b"??" and path.is_dir():
                parts += _walked(path)
            elif name and (status != b"??" or name.endswith(_CODE)):
                parts += [name.encode("utf-8", "surrogateescape"), _content(path)]
        return _digest(parts)


def environment_text() -> str:
    """The interpreter and platform, readable: ``"CPython 3.11.7 linux x86_64"``."""
    implementation = platform.python_implementation()
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{implementation} {version} {sys.platform} {platform.machine()}"


def _git(root: Path, *arguments: str) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            ["git", "--no-optional-locks", "-C", str(root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # no git on this machine: the tree is walked instead
        return None


def _answer(process: subprocess.Popen[bytes] | None) -> bytes | None:
    if process is None:
        return None
    output, _ = process.communicate()
    return output if process.returncode == 0 else None


def _distributions() -> Iterator[bytes]:
    # The folder names carry name and version; importlib.metadata would open every one of them.
    for entry in dict.fromkeys(sys.path):
        try:
            names = os.listdir(entry or ".")
        except OSError:
            continue
        yield from (
            name.encode("utf-8", "surrogateescape")
            for name in names
            if name.endswith((".dist-info", ".egg-info"))
        )


def _walked(root: Path) -> list[bytes]:
    parts: list[bytes] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED_DIRS
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        for name in sorted(names):
            if name.endswith(_CODE):
                path = Path(folder, name)
                relative = os.fsencode(path.relative_to(root))
                parts += [relative, _content(path)]
                if len(parts) > 2 * _MOST_FILES:
                    return parts
    return parts


def _content(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        return b""  # deleted, or not a file


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
