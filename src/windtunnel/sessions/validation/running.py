"""What a run of tests asks for: declared capabilities that are checked in no test are no use.

The tests run in a process of their own, with this module as a pytest plugin that notes every use
that is asked for.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from windtunnel.core.errors import UsageError
from windtunnel.core.verdict import Verdict
from windtunnel.sessions.capabilities.watching import watched
from windtunnel.sessions.validation.finding import Finding

_VARIABLE = "WINDTUNNEL_VALIDATION_NOTES"
_stack = contextlib.ExitStack()
_seen: collections.Counter[tuple[str, bool]] = collections.Counter()


def ran(arguments: Sequence[str], declared: Sequence[str]) -> Iterator[Finding]:
    """Run tests and say of each declared type how often it was asked for.

    :param arguments: pytest's.
    :param declared: the types that are granted.
    :raises UsageError: where there are no tests, or pytest cannot run them.
    """
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", __name__, *arguments],
            env={**os.environ, _VARIABLE: str(notes), "PYTHONPATH": _import_path()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode > 1:
            raise UsageError(
                "the tests cannot be run",
                found="\n".join((done.stdout + done.stderr).strip().splitlines()[-5:]),
                fix=f"try: pytest {' '.join(arguments)}",
            )
        counts = _counted(notes)
    if done.returncode:
        yield Finding("capabilities", "the tests", Verdict.FAIL, "some fail; see pytest")
    for type in declared:
        admitted, refused = counts.get(type, [0, 0])
        if admitted + refused:
            told = f"is checked while the tests run: {admitted} allowed, {refused} refused"
            yield Finding("capabilities", type, Verdict.PASS, told)
        else:
            yield Finding(
                "capabilities",
                type,
                Verdict.FAIL,
                "is declared, and nothing asks for it while the tests run",
                fix="test what it guards, or do not grant it",
            )


def _counted(notes: Path) -> dict[str, list[int]]:
    """Allowed and refused uses of each type, those of xdist's workers too."""
    counts: dict[str, list[int]] = {}
    for file in notes.iterdir():
        for type, (admitted, refused) in json.loads(file.read_text(encoding="utf-8")).items():
            before = counts.get(type, [0, 0])
            counts[type] = [before[0] + admitted, before[1] + refused]
    return counts


def _import_path() -> str:
    return os.pathsep.join([str(Path.cwd()), *(one for one in sys.path if one)])


def pytest_configure() -> None:
    """Note every use from now on."""
    if _VARIABLE in os.environ:
        _stack.enter_context(watched(lambda type, _, admitted: _seen.update([(type, admitted)])))


def pytest_unconfigure() -> None:
    """Write down what was seen."""
    _stack.close()
    path = os.environ.get(_VARIABLE)
    if path and _seen:
        types = {type for type, _ in _seen}
        counts = {type: [_seen[type, True], _seen[type, False]] for type in types}
        (Path(path) / str(os.getpid())).write_text(json.dumps(counts), encoding="utf-8")


__all__ = ["ran"]
