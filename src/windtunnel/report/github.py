"""GitHub Actions: annotations beside the code, and the job's summary in Markdown.

An annotation is a line on standard output (``::error file=...,line=...::message``), which the
runner takes out of the log; of each level it shows ten a step, so no more are written, and the
last of ten says how many there are besides. Source: GitHub's documentation, *Workflow commands
for GitHub Actions*.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from windtunnel.core import Outcome
from windtunnel.draw import clean, seconds, strip_text
from windtunnel.report.data import RunView, TestView
from windtunnel.report.sections import many, pace_sentence

CAP = 10
"""Annotations of one level that GitHub shows of a step."""

_ROWS = 50
_MARKDOWN = {ord(character): f"&#{ord(character)};" for character in "\\`*_|[]~"}
_MESSAGE = 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where in the code a test went wrong. ``line`` counts from 1; 0 is unknown."""

    file: str
    line: int


class Places:
    """Notes where tests fail while their reports pass by."""

    def __init__(self, root: Path, workspace: Path) -> None:
        self._root = root
        self._workspace = workspace
        self.found: dict[str, Place] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome not in ("failed", "rerun") and not getattr(
            report, "wt_quarantined", False
        ):
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            inside = self._inside(Path(self._root, str(crash.path)))
            if inside is not None:
                self.found[report.nodeid] = Place(inside, int(crash.lineno))
                return
        file, line, _ = report.location
        inside = self._inside(self._root / file)
        if inside is not None:
            self.found.setdefault(report.nodeid, Place(inside, 0 if line is None else line + 1))

    def _inside(self, path: Path) -> str | None:
        """The path as GitHub knows it, unless it is a library's."""
        try:
            relative = path.resolve().relative_to(self._workspace.resolve())
        except (ValueError, OSError):
            return None
        return None if "site-packages" in relative.parts else relative.as_posix()


def annotation_lines(view: RunView, places: Mapping[str, Place] | None = None) -> list[str]:
    """The lines to print: what fails the run as errors, what will bite as warnings."""
    known = places or {}
    errors = [_of_test("error", test, known) for test in view.tests if test.fails]
    warnings = [_of_test("warning", test, known) for test in view.quarantined if test.outcome.bad]
    warnings += [
        _of_test("warning", test, known, f"passed only on attempt {test.attempts}")
        for test in view.tests
        if test.passed_on_rerun
    ]
    for one in view.broken:
        level = errors if one.fails else warnings
        file, _, line = one.location.rpartition(":")
        place = Place(file, int(line)) if file and line.isdigit() else None
        text = "\n".join(part for part in (one.detail, *one.nodeids[:3]) if part)
        title = f"{one.rule}: {one.subject}"
        level.append(command("error" if one.fails else "warning", title, text, place))
    notices = [
        command(
            "notice",
            f"flaky: {judged.nodeid}",
            f"fails in {judged.failure_rate:.0%} of {judged.results} results: {judged.reason}",
            known.get(judged.nodeid),
        )
        for judged in view.flaky
    ]
    return [
        *_capped("error", errors), *_capped("warning", warnings), *_capped("notice", notices)
    ]  # fmt: skip


def _of_test(level: str, test: TestView, known: Mapping[str, Place], said: str = "") -> str:
    row = test.last
    title = f"{row.outcome.value}{' (quarantined)' if row.quarantined else ''}: {row.nodeid}"
    place = known.get(row.nodeid) or Place(row.nodeid.split("::", 1)[0], 0)
    lines = [said or row.message or row.outcome.value, f"replay: {row.replay}" * bool(row.replay)]
    return command(level, title, "\n".join(line for line in lines if line), place)


def command(level: str, title: str, message: str, place: Place | None = None) -> str:
    """One annotation, escaped as the runner unescapes it.

    >>> command("error", "a::b", "50% of\\nit", Place("t.py", 3))
    '::error file=t.py,line=3,title=a%3A%3Ab::50%25 of%0Ait'
    """
    fields: list[tuple[str, str]] = []
    if place is not None and place.file:
        fields.append(("file", place.file))
        if place.line > 0:
            fields.append(("line", str(place.line)))
    fields.append(("title", title))
    written = ",".join(
        f"{name}={_data(clean(value)).replace(':', '%3A').replace(',', '%2C')}"
        for name, value in fields
    )
    return f"::{level} {written}::{_data(clean(message, lines=True)[:_MESSAGE])}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _capped(level: str, lines: Sequence[str]) -> list[str]:
    if len(lines) <= CAP:
        return list(lines)
    rest = len(lines) - CAP + 1
    return [*lines[: CAP - 1], command(level, "windtunnel", f"and {rest} more, see the summary")]


def job_summary(view: RunView) -> str:
    """The Markdown that is added to ``$GITHUB_STEP_SUMMARY``."""
    return "\n".join(_summary(view)) + "\n"


def _summary(view: RunView) -> Iterator[str]:
    run = view.run
    counts = ", ".join(f"{count:,} {outcome.value}" for outcome, count in view.counts.items())
    apart = f", {len(view.quarantined):,} quarantined" if view.quarantined else ""
    yield f"### Windtunnel: {counts or 'no tests'}{apart}"
    yield ""
    if view.attempts:
        yield f"{pace_sentence(view)}; whole run {seconds(view.duration_s)}."
    facts = [
        f"seed {_code(str(run.seed))}",
        f"isolation {_code(run.isolation or 'none')}",
        _text(run.environment_text),
        f"tree {_code(run.tree[:12])}" if run.tree else "",
    ]
    yield ", ".join(fact for fact in facts if fact)
    failing = [test for test in view.tests if test.fails]
    yield from _table(
        "Failures",
        ("test", "outcome", "message"),
        [(_code(t.nodeid), t.outcome.value, _text(t.last.message)) for t in failing],
    )
    yield from _table(
        "Flaky",
        ("test", "failure rate", "recent", "why"),
        [
            (_code(one.nodeid), f"{one.failure_rate:.0%} of {one.results}",
             _code(strip_text(one.strip)), _text(one.reason))
            for one in view.flaky
        ],
    )  # fmt: skip
    yield from _table(
        "Passed only when run again",
        ("test", "attempts"),
        [(_code(t.nodeid), str(t.attempts)) for t in view.tests if t.passed_on_rerun],
    )
    yield from _table(
        "Quarantined",
        ("test", "outcome", "message"),
        [
            (_code(t.nodeid), t.outcome.value, _text(t.last.message))
            for t in view.quarantined
            if t.outcome is not Outcome.SKIPPED
        ],
    )
    yield from _table(
        "Broken rules",
        ("rule", "on", "what"),
        [(_text(one.rule), _code(one.subject), _text(one.detail)) for one in view.broken],
    )
    lines = [test.last.replay for test in failing if test.last.replay]
    if lines:
        yield "\n<details><summary>Replay</summary>\n\n<pre>"
        yield from (html.escape(clean(line)) for line in lines[:_ROWS])
        yield "</pre></details>"


def _table(title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    yield f"\n#### {title} ({many(len(rows), 'row').split()[0]})\n"
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows[:_ROWS]:
        yield "| " + " | ".join(row) + " |"
    if len(rows) > _ROWS:
        yield f"\nand {len(rows) - _ROWS:,} more"


def _text(text: str) -> str:
    """Text that Markdown leaves alone, in one cell of a table."""
    escaped = html.escape(clean(text)[:300])
    return escaped.translate(_MARKDOWN)


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>" if text else ""
