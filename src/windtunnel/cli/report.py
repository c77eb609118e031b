"""``windtunnel report``: show a recorded run, as a page, as text, or as JUnit XML."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.core import ExitCode, Flakiness, Settings, UsageError
from windtunnel.core.settings import read_pyproject

if TYPE_CHECKING:
    from windtunnel.record import Record
    from windtunnel.record.protocol import RunRow
    from windtunnel.report.data import RunView

_RECENT = 10


def main(argv: list[str]) -> int:
    """Write what was asked for of one run; its own outcome does not change the exit code."""
    given = _parser().parse_args(argv)
    from windtunnel.record import open_record

    settings = Settings.resolve({}, {}, read_pyproject(Path.cwd()))
    path = Path(given.record or settings.record)
    with open_record(path, create=False) as record:
        for notice in record.notices:
            print(f"windtunnel: {notice}", file=sys.stderr)
        run = find_run(record, given.run)
        if given.junit:
            _write_junit(record, run, given.junit)
        if given.text or given.output or not given.junit:
            view = _view(record, run, settings)
            if given.text:
                _print_text(view)
            if given.output or not (given.text or given.junit):
                _write_page(view, given.output or settings.html or ".windtunnel/report.html")
    return int(ExitCode.OK)


def find_run(record: Record, name: str) -> RunRow:
    """The run of that name: a number, a run id or the beginning of one; empty is the latest, of
    those that ended the latest that had tests (measuring is a run too).

    :raises UsageError: when there is none, or more than one.
    """
    runs = record.runs()
    if not runs:
        raise UsageError("the record holds no run", fix="run the tests first: `windtunnel run`")
    if not name:
        return next((run for run in runs if run.collected or run.finished is None), runs[0])
    found = [run for run in runs if name in (str(run.number), run.run_id)]
    found = found or [run for run in runs if run.run_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(f"{run.number} ({run.run_id})" for run in (found or runs)[:_RECENT])
    raise UsageError(
        f"{'more than one run begins' if found else 'there is no run'} {name!r}",
        found=shown,
        fix="name a run by its number or its id",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="windtunnel report",
        description="Show a recorded run; without options, write its page and say where it is.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "run", nargs="?", default="", metavar="RUN", help="number or id of a run (default: latest)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the page's file; - is the output")
    parser.add_argument("--text", action="store_true", help="print the terminal's summary")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML; - is the output")
    parser.add_argument("--record", metavar="FILE", help="the record (default: the project's)")
    return parser


def _view(record: Record, run: RunRow, settings: Settings) -> RunView:
    from windtunnel.report.data import view_of

    def judge(record: Record, settings: Settings, nodeids: Collection[str]) -> list[Flakiness]:
        from windtunnel.judge.flaky import judge_record

        return judge_record(record, settings, nodeids)

    return view_of(record, run, settings=settings, judge=judge)


def _write_page(view: RunView, name: str) -> None:
    from windtunnel.report.page import page, write_page

    if name == "-":
        sys.stdout.write(page(view))
        return
    try:
        write_page(view, Path(name))
    except OSError as error:
        raise UsageError("cannot write the page", found=str(error)) from None
    print(name)


def _print_text(view: RunView) -> None:
    import os
    import shutil

    from windtunnel.report.page import moment, verdict
    from windtunnel.report.sections import closing, sections
    from windtunnel.report.terminal import can_print, show

    said = [f"{count:,} {outcome.value}" for outcome, count in view.counts.items()]
    said += [f"{len(view.quarantined):,} quarantined"] if view.quarantined else []
    word, _ = verdict(view.run)
    head = f"{moment(view.run.started)}, {word}: {', '.join(said) or 'no tests'}"
    text = show(
        sections(view, flaky_report=True),
        [(f"run {view.run.number}", head), *closing(view)],
        width=shutil.get_terminal_size().columns,
        on_screen=sys.stdout.isatty(),
        colour=not os.environ.get("NO_COLOR"),
        ascii_only=not can_print(sys.stdout.encoding),
    )
    sys.stdout.write(text)


def _write_junit(record: Record, run: RunRow, name: str) -> None:
    from windtunnel.record.junit_write import junit_xml

    text = junit_xml(run, record.outcomes(run.number))
    if name == "-":
        sys.stdout.write(text)
        return
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError("cannot write the JUnit XML", found=str(error)) from None
