"""Put an executor to the attempts in another process, which can be ended whatever it does.

What escapes, escapes into a process that is thrown away: after each escape the next attempt gets a
fresh one. What hangs or dies is an escape, and the rest goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from windtunnel.core.errors import UsageError
from windtunnel.own import Scope
from windtunnel.sessions.confinement.checking import PATIENCE_S, chosen
from windtunnel.sessions.confinement.report import Report, Row


def check_apart(
    factory: str,
    *,
    families: Iterable[str] | None = None,
    attempts: Iterable[str] | None = None,
    patience_s: float = PATIENCE_S,
    on_row: Callable[[Row], None] | None = None,
) -> Report:
    """Put the executor of a factory to the attempts, in a process of its own.

    :param factory: where it is, ``module:name``, or ``path/to/file.py:name``.
    :param families: the families to try; all by default.
    :param attempts: the attempts to try, by id; all of the families by default.
    :param patience_s: seconds beyond its limit that an execution may take.
    :param on_row: called with each row as it comes.
    :raises UsageError: where there is no such factory, family or attempt.
    """
    wanted = [attempt.id for attempt in chosen(families, attempts)]
    rows: list[Row] = []
    controls: list[Row] = []
    with Scope("confinement", house=True) as scope:
        folder = scope.temp_dir("wt-confinement-")
        errors = scope.enter((folder / "errors").open("w+b"))
        child = scope.child(
            [sys.executable, "-m", "windtunnel.sessions.confinement.inside", factory],
            name="confinement",
            env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": _import_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        order = {"attempts": wanted, "patience_s": patience_s}
        stdin, stdout = child.process.stdin, child.process.stdout
        assert stdin is not None
        assert stdout is not None
        _send(stdin, order)
        for row in _received(stdout, factory):
            (controls if row.id.startswith("control ") else rows).append(row)
            if on_row:
                on_row(row)
        if len(rows) < len(wanted):
            raise _broken_off(factory, len(rows), errors)
    return Report(tuple(rows), tuple(controls))


def _import_path() -> str:
    """What this process can import, the other can."""
    return os.pathsep.join([str(Path.cwd()), *(one for one in sys.path if one)])


def _send(stdin: IO[bytes], order: dict[str, Any]) -> None:
    with stdin:
        stdin.write(json.dumps(order).encode())


def _received(stdout: IO[bytes], factory: str) -> Iterator[Row]:
    for line in stdout:
        message = json.loads(line)
        if "error" in message:
            raise UsageError(
                f"the executor factory {factory} cannot be used",
                found=message["error"],
                fix="give module:name of a function that takes the terms and returns an executor",
            )
        yield Row.from_json(message)


def _broken_off(factory: str, done: int, errors: IO[bytes]) -> UsageError:
    errors.seek(0)
    last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
    return UsageError(
        f"the process with the executor of {factory} ended after {done} attempts",
        found=last[0] if last else "nothing on its standard error",
    )


__all__ = ["check_apart"]
