"""What a run says of a simulated test: token and story of a failure, samples, leaks."""

from __future__ import annotations

import functools
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprFileLocation, ReprTracebackNative

from windtunnel.core import Sample, Violation, emit
from windtunnel.explore import TapeFile, Token
from windtunnel.run.fingerprint import Fingerprint, environment_text
from windtunnel.run.session import RunState
from windtunnel.run.simulated import hash_seed
from windtunnel.run.simulated_seeds import Failure, Summary

if TYPE_CHECKING:
    from windtunnel.run.simulated_replay import Replay

_SECTION = "simulated"


class Reporter:
    """Completes the reports of simulated tests, in the process that logs them."""

    def __init__(self, config: pytest.Config, state: RunState, replay: Replay | None) -> None:
        self._config = config
        self._state = state
        self._replay = replay

    def complete(
        self, item: pytest.Item, summary: Summary, reports: list[pytest.TestReport]
    ) -> None:
        """Say what there is to be said beyond the reports themselves."""
        if not summary.passed and not summary.failed:
            return  # it was not run
        self._record(item, summary)
        bad = next((report for report in reports if report.failed), None)
        if self._replay is not None:
            self._replay.ended(summary)
        if bad is None:
            return
        if summary.failure is not None:
            self._tell(item, bad, summary, summary.failure)
        elif summary.died_at is not None:
            place = f"seed {summary.died_at + 1} of {summary.total or '?'}"
            add_section(bad, f"the process died under {place}")

    def _record(self, item: pytest.Item, summary: Summary) -> None:
        for name, value, unit in (
            ("simulated.seeds", summary.passed + summary.failed, "seeds"),
            ("simulated.steps", summary.steps, "steps"),
            ("simulated.virtual", summary.virtual_ns / 1e9, "s"),
        ):
            emit(
                Sample(
                    name=name,
                    value=float(value),
                    unit=unit,
                    nodeid=item.nodeid,
                    failed=summary.failed > 0,
                )
            )
        for what, where in summary.leaks.items():
            emit(
                Violation(
                    rule="leak",
                    subject=what,
                    detail="still there when the simulated test had ended (gone with its world)",
                    nodeid=item.nodeid,
                    worker=self._state.worker,
                    location=_relative(where, self._state.root),
                )
            )

    def _tell(
        self, item: pytest.Item, report: pytest.TestReport, summary: Summary, failure: Failure
    ) -> None:
        if failure.error == "StepReached":
            add_section(report, failure.told.text)
            return
        token = self._token(item.nodeid, failure)
        tape = self._write_tape(token, failure)
        command = f"windtunnel replay {token.text()}"
        lines = [
            f"seed {failure.index + 1} of {summary.total} ({failure.seed}) failed"
            f" after {failure.steps} steps, at {failure.at_ns / 1e9:.6f} s of virtual time;"
            f" {summary.passed} passed" + (f", {summary.failed} failed" * (summary.failed > 1)),
            f"replay: {command}",
        ]
        if tape is not None:
            shown = _shown(tape, self._state.invoked_in)
            lines += [f"tape:   {shown}", f"story:  {shown.removesuffix('.tape')}.svg"]
        if not token.hash_seed:
            lines.append(
                "PYTHONHASHSEED was not set in this run: what depends on the order of a set of"
                " strings may not replay"
            )
        add_section(report, "\n".join([*lines, "", failure.told.text]))
        vars(report)["wt_replay"] = command
        vars(report)["wt_seed"] = failure.seed

    def _token(self, nodeid: str, failure: Failure) -> Token:
        code, interpreter, packages = pinned(self._state.root)
        return Token(
            nodeid=nodeid,
            seed=failure.seed,
            world=failure.world,
            code=code,
            interpreter=interpreter,
            packages=packages,
            hash_seed=hash_seed(),
            choices=failure.choices,
            steps=failure.steps,
            error=failure.error,
        )

    def _write_tape(self, token: Token, failure: Failure) -> Path | None:
        if self._replay is not None:
            return None
        given = self._state.settings.tape
        folder = self._state.root / given if given else self._state.state_dir / "tapes"
        path = folder / f"{self._state.run_id}-{slug(token.nodeid)}-{failure.seed:x}.tape"
        TapeFile(token, failure.tape).write(path)
        path.with_suffix(".svg").write_text(failure.told.svg, encoding="utf-8")
        return path


def add_section(report: pytest.TestReport, text: str) -> None:
    """Put a text under a failure, where every way to show failures shows it."""
    longrepr: Any = report.longrepr
    if hasattr(longrepr, "addsection"):
        longrepr.addsection(_SECTION, text, "-")
    else:
        report.sections.append((_SECTION, text))


def without_stack(item: pytest.Item, error: BaseException) -> ExceptionChainRepr:
    """A failure told by its error alone, at the place of the test."""
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    return told(item, f"{type(error).__name__}: {error}{notes}")


def told(item: pytest.Item, text: str) -> ExceptionChainRepr:
    """A failure told by a text, at the place of the test."""
    path, line, _ = item.location
    place = ReprFileLocation(path=path, lineno=(line or 0) + 1, message=text.partition("\n")[0])
    return ExceptionChainRepr([(ReprTracebackNative([f"{text}\n"]), place, None)])


@functools.cache
def pinned(root: Path) -> tuple[str, str, str]:
    """What a token pins of this process: code, interpreter, packages."""
    facts = Fingerprint(root).take()
    return facts.tree[:12], environment_text(), facts.environment[:12]


def slug(nodeid: str) -> str:
    """The test's name as part of a file's name, another for each test."""
    words = "".join(c if c.isalnum() else "-" for c in nodeid.rpartition("::")[2])
    return f"{words[:60]}-{zlib.crc32(nodeid.encode()):08x}"


def _shown(path: Path, start: Path) -> str:
    relative = os.path.relpath(path, start)
    return relative if not relative.startswith("..") else str(path)


def _relative(where: str, root: Path) -> str:
    return where.removeprefix(f"{root}{os.sep}")
