"""What the terminal is told of a run, section by section, before anyone thinks of layout.

A section with nothing to say is not made. Text in a section is clean already: it may be printed
as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from windtunnel.core import Flakiness, Outcome
from windtunnel.draw import clean, seconds
from windtunnel.report.data import Broken, RunView, TestView

SLOW_S = 0.5
"""Seconds from which a test is worth naming among the slowest."""

_ROWS = 10
_SLOWEST = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One entry of a section.

    :param cells: short columns before the text; ``strip`` is a further one, of outcome letters.
    :param text: what the entry is about: a test's name, a subject, a command.
    :param under: sentences below the text.
    :param look: ``bad``, ``flaky``, ``quarantine``, ``good`` or empty; colours the cells.
    :param whole: print ``text`` uncut even where it is wider than the terminal, to be copied.
    """

    cells: tuple[str, ...]
    text: str
    under: tuple[str, ...] = ()
    look: str = ""
    strip: str = ""
    whole: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """A title, what it means in a few words, and its entries.

    :param hidden: number of entries left out for length.
    """

    title: str
    note: str = ""
    rows: tuple[Row, ...] = ()
    look: str = ""
    hidden: int = 0


def sections(
    view: RunView,
    *,
    flaky_report: bool = False,
    verbosity: int = 0,
    quarantine: bool = True,
) -> list[Section]:
    """The sections of ``view`` that have something to say.

    :param flaky_report: whether the user asked which tests are flaky; "none" is then said too.
    :param verbosity: pytest's: below 0 only what went wrong is told, above 0 nothing is cut.
    :param quarantine: whether to tell of quarantine, too; somebody else may have.
    """
    makers: list[Callable[[RunView], Iterator[Section]]] = [
        _unavailable,
        _died,
        _unfinished,
        _rerun,
        _leaked,
        _vacuous,
        _pollution,
        _other_rules,
    ]
    if quarantine:
        makers = [_expired, _quarantined, *makers, _stale]
    if verbosity >= 0:
        makers.insert(0, _slowest)
        makers.append(_replay)
    if flaky_report and view.judged and view.tests:
        makers.insert(1 if verbosity >= 0 else 0, _flaky)
    limit = None if verbosity > 0 else _ROWS
    return [_cut(section, limit) for make in makers for section in make(view)]


def closing(view: RunView, *, verbosity: int = 0) -> list[tuple[str, str]]:
    """The last lines: a word and what it stands for."""
    lines: list[tuple[str, str]] = []
    if view.run.workers and view.attempts and verbosity >= 0:
        lines.append(("pace", pace_sentence(view)))
    if view.page and verbosity >= 0:
        lines.append(("page", clean(view.page)))
    return lines


def pace_sentence(view: RunView) -> str:
    """How fast the run was, against how fast it could have been."""
    pace = view.pace
    tests = many(len(view.tests), "test")
    return (
        f"{tests} on {many(pace.lanes, 'worker')} in {seconds(pace.makespan_s)}, "
        f"{pace.ratio:.2f} of the lower bound {seconds(pace.bound_s)}"
    )


def many(count: int, noun: str) -> str:
    """A count and its noun.

    >>> many(1, "test"), many(1200, "test")
    ('1 test', '1,200 tests')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _cut(section: Section, limit: int | None) -> Section:
    if limit is None or len(section.rows) <= limit:
        return section
    return dataclasses.replace(
        section, rows=section.rows[:limit], hidden=section.hidden + len(section.rows) - limit
    )


def _slowest(view: RunView) -> Iterator[Section]:
    slow = sorted((test for test in view.tests if test.total_s >= SLOW_S), key=_longest_first)
    if slow:
        yield Section(
            "slowest",
            rows=tuple(
                Row((seconds(test.total_s),), clean(test.nodeid), whole=False)
                for test in slow[:_SLOWEST]
            ),
        )


def _longest_first(test: TestView) -> tuple[float, str]:
    return -test.total_s, test.nodeid


def _flaky(view: RunView) -> Iterator[Section]:
    apart = {test.nodeid for test in view.quarantined}
    note = f"{len(view.flaky)} of {many(len(view.tests), 'test')}" if view.flaky else (
        f"none of {many(len(view.tests), 'test')}"
    )  # fmt: skip
    yield Section(
        "flaky",
        f"{note}, judged by the record",
        tuple(_flaky_row(judged, judged.nodeid in apart) for judged in view.flaky),
        "flaky",
    )
    recommended = [
        judged
        for judged in view.flaky
        if judged.quarantine_recommended and judged.nodeid not in apart
    ]
    if recommended:
        yield Section(
            "recommended for quarantine",
            "`windtunnel flaky quarantine` proposes the entries",
            tuple(
                Row((f"{judged.failures} of {judged.results}",), clean(judged.nodeid))
                for judged in recommended
            ),
            "flaky",
        )


def _flaky_row(judged: Flakiness, apart: bool) -> Row:
    said = [judged.reason, "it is in quarantine" if apart else ""]
    return Row(
        (f"{judged.failure_rate:.0%}",),
        clean(judged.nodeid),
        tuple(clean(sentence) for sentence in said if sentence),
        "flaky",
        judged.strip[-20:],
    )


def _rerun(view: RunView) -> Iterator[Section]:
    lucky = [test for test in view.tests if test.passed_on_rerun]
    if lucky:
        rows = tuple(
            Row((f"attempt {test.attempts}",), clean(test.nodeid), look="flaky") for test in lucky
        )
        yield Section("passed only when run again", "", rows, "flaky")


def _quarantined(view: RunView) -> Iterator[Section]:
    apart = view.quarantined
    if not apart:
        return
    bad = [test for test in apart if test.outcome.bad]
    note = f"{many(len(apart), 'test')}, {len(bad)} bad; none of them fails the run"
    yield Section(
        "quarantined", note, tuple(_outcome_row(test, "quarantine") for test in bad), "quarantine"
    )


def _outcome_row(test: TestView, look: str) -> Row:
    message = clean(test.last.message)
    return Row((test.outcome.value,), clean(test.nodeid), (message,) if message else (), look)


def _died(view: RunView) -> Iterator[Section]:
    for title, outcome in (("crashed", Outcome.CRASHED), ("hung", Outcome.TIMEOUT)):
        died = [test for test in view.with_outcome(outcome) if not test.last.quarantined]
        if died:
            rows = tuple(
                Row((clean(test.last.worker),), clean(test.nodeid), _message(test), "bad")
                for test in died
            )
            yield Section(title, many(len(died), "test"), rows, "bad")


def _unfinished(view: RunView) -> Iterator[Section]:
    if view.unfinished:
        rows = tuple(Row((clean(row.worker),), clean(row.nodeid)) for row in view.unfinished)
        yield Section("not finished", "begun, and stopped with the run", rows, "flaky")


def _message(test: TestView) -> tuple[str, ...]:
    return (clean(test.last.message),) if test.last.message else ()


def _leaked(view: RunView) -> Iterator[Section]:
    rows = [
        Row((clean(row.resource),), clean(row.name), _laid_at((row.nodeid,)), "bad")
        for row in view.resources
        if row.action == "leaked"
    ]
    named = {row.text for row in rows}
    rows += [_broken_row(one) for one in view.rule("leak") if clean(one.subject) not in named]
    if rows:
        yield Section("leaked", "left behind by tests", tuple(rows), "bad")
    reaped = [row for row in view.resources if row.action == "reaped"]
    if reaped:
        yield Section(
            "reaped",
            "left behind by runs that died",
            tuple(Row((clean(row.resource),), clean(row.name)) for row in reaped),
        )


def _vacuous(view: RunView) -> Iterator[Section]:
    yield from _rule(view, "vacuous", "vacuous", "passed without testing anything")


def _pollution(view: RunView) -> Iterator[Section]:
    yield from _rule(view, "pollution", "pollution", "state that tests changed and left changed")


def _unavailable(view: RunView) -> Iterator[Section]:
    yield from _rule(view, "isolation-unavailable", "isolation unavailable", "this run was without")


def _expired(view: RunView) -> Iterator[Section]:
    title = "quarantine expired"
    yield from _rule(view, "quarantine-expired", title, "these tests count again", "bad")


def _stale(view: RunView) -> Iterator[Section]:
    yield from _rule(view, "quarantine-stale", "quarantine stale", "there are no such tests")


_OWN_SECTION = frozenset(
    {
        "leak",
        "vacuous",
        "pollution",
        "isolation-unavailable",
        "quarantine-expired",
        "quarantine-stale",
    }
)


def _other_rules(view: RunView) -> Iterator[Section]:
    for rule in dict.fromkeys(one.rule for one in view.broken if one.rule not in _OWN_SECTION):
        yield from _rule(view, rule, clean(rule), "broken")


def _rule(view: RunView, rule: str, title: str, note: str, look: str = "") -> Iterator[Section]:
    broken = view.rule(rule)
    if broken:
        rows = tuple(_broken_row(one) for one in broken)
        bad = look or ("bad" if any(one.fails for one in broken) else "flaky")
        yield Section(title, note, rows, bad)


def _broken_row(one: Broken) -> Row:
    where = f" ({clean(one.location)})" if one.location else ""
    under = [clean(one.detail) + where] if one.detail else [where.strip(" ()")] * bool(where)
    return Row(
        (), clean(one.subject), (*under, *_laid_at(one.nodeids)), "bad" if one.fails else "flaky"
    )


def _laid_at(nodeids: Sequence[str]) -> tuple[str, ...]:
    named = [clean(nodeid) for nodeid in nodeids if nodeid]
    if not named:
        return ()
    others = f" and {many(len(named) - 1, 'other')}" if len(named) > 1 else ""
    return (f"by {named[0]}{others}",)


def _replay(view: RunView) -> Iterator[Section]:
    lines = dict.fromkeys(
        clean(test.last.replay) for test in view.tests if test.fails and test.last.replay
    )
    if lines:
        yield Section("replay", "", tuple(Row((), line) for line in lines))
