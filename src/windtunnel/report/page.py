"""The page of a run: one HTML file that needs nothing but a browser, and no script to be read.

It holds the run's facts, its outcomes, the timeline of its workers against the shortest time
there could be, what failed and why, what is flaky, which rules were broken, and every test. A
run of ten thousand tests fits in a few megabytes: bars too narrow to see are merged, output is
kept of the first failures only, and what was left out is said.
"""

from __future__ import annotations

import datetime
import html
import importlib.resources
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from windtunnel.core import ExitCode, Outcome
from windtunnel.core.flakiness import Flakiness
from windtunnel.draw import STYLE, Bar, clean, interval, seconds, strip_svg, timeline
from windtunnel.record.protocol import OutcomeRow, RunRow
from windtunnel.report.data import Broken, RunView, TestView
from windtunnel.report.sections import many

_FAILURES = 500
_OUTPUTS = 100
_OUTPUT_LENGTH = 8_000
_STRIPS = 2_000
_BROKEN = 500


def write_page(view: RunView, path: Path) -> None:
    """Write the page to ``path``, whole or not at all.

    :raises OSError: when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(page(view), encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def page(view: RunView) -> str:
    """The page's text."""
    return "".join(_parts(view))


def _parts(view: RunView) -> Iterator[str]:
    name = Path(view.run.root).name or view.run.root
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_e(name)}: {_e(verdict(view.run)[0])}</title>\n"
        f"<style>\n{STYLE}\n{_asset('page.css')}</style>\n</head>\n<body>\n"
    )
    yield from _head(view, name)
    yield from _timeline(view)
    yield from _failures(view)
    yield from _unfinished(view)
    yield from _flaky(view)
    yield from _broken(view)
    yield from _tests(view)
    yield (
        f"<footer>Windtunnel, run {_e(view.run.run_id)}</footer>\n"
        f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def verdict(run: RunRow) -> tuple[str, str]:
    """How the run ended, in a word, and whether that is ``good``, ``bad`` or ``unknown``."""
    if run.exit_code is None:
        return "unfinished", "unknown"
    if run.exit_code == ExitCode.OK:
        return "passed", "good"
    names = {
        ExitCode.TESTS_FAILED: ("failed", "bad"),
        ExitCode.INTERRUPTED: ("interrupted", "unknown"),
        ExitCode.NO_TESTS: ("no tests", "unknown"),
    }
    try:
        code = ExitCode(run.exit_code)
    except ValueError:
        return f"exit code {run.exit_code}", "bad"
    return names.get(code, (code.name.lower().replace("_", " "), "bad"))


def moment(time: float) -> str:
    """A point in time, in UTC, for people.

    >>> moment(0)
    '1970-01-01 00:00:00 UTC'
    """
    return f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _head(view: RunView, name: str) -> Iterator[str]:
    word, look = verdict(view.run)
    yield (
        f'<header><h1>{_e(name)}</h1><span class="verdict {look}">{_e(word)}</span>'
        f'<span class="when">{moment(view.run.started)}</span></header>\n<ul class="counts">'
    )
    for outcome, count in view.counts.items():
        yield f'<li class="{_look(outcome)}"><b>{count:,}</b>{outcome.value}</li>'
    flaky = len(view.flaky_names)
    if flaky:
        yield f'<li class="flaky"><b>{flaky:,}</b>flaky</li>'
    apart = view.quarantined
    if apart:
        bad = sum(test.outcome.bad for test in apart)
        said = f", {bad:,} bad" if bad else ""
        yield f'<li class="quarantine"><b>{len(apart):,}</b>quarantined{said}</li>'
    if view.unfinished:
        yield f"<li><b>{len(view.unfinished):,}</b>not finished</li>"
    missing = view.run.collected - len(view.tests) - len(view.unfinished)
    if missing > 0:
        yield f"<li><b>{missing:,}</b>not run</li>"
    yield "</ul>\n<dl>"
    for term, text in _facts(view):
        if text:
            yield f"<dt>{term}</dt><dd>{text}</dd>"
    yield "</dl>\n"


def _facts(view: RunView) -> list[tuple[str, str]]:
    run = view.run
    tree = f' <span class="dim">tree {_e(run.tree[:12])}</span>' if run.tree else ""
    return [
        ("command", f"<code>{_e(run.argv)}</code>"),
        ("code", f"commit <code>{_e(run.commit[:12])}</code>{tree}" if run.commit else tree),
        ("environment", _e(run.environment_text)),
        ("isolation", _e(run.isolation.replace(",", ", ")) or "none"),
        ("workers", f"{run.workers}" if run.workers else "none: in the main process"),
        ("seed", f"<code>{run.seed}</code>"),
        ("world", _e(run.world) if run.world != "real" else ""),
        ("CI", _e(run.ci)),
        ("duration", seconds(view.duration_s)),
    ]


def _timeline(view: RunView) -> Iterator[str]:
    if not view.attempts:
        yield '<h2>Timeline</h2><p class="dim">No test has run.</p>\n'
        return
    pace = view.pace
    first = min(row.started for row in view.attempts)
    flaky = view.flaky_names
    drawing = timeline(
        [_bar(row, first, flaky) for row in view.attempts],
        lanes=[f"gw{index}" for index in range(view.run.workers)],
        bound_s=pace.bound_s,
    )
    workers = many(pace.lanes, "worker")
    reason = (
        f"the longest test, {seconds(pace.longest_s)}"
        if pace.longest_s >= pace.work_s / pace.lanes
        else f"{seconds(pace.work_s)} of work shared evenly by {workers}"
    )
    yield (
        f"<h2>Timeline<small>{workers}</small></h2>"
        f"<p>From first start to last end: <b>{seconds(pace.makespan_s)}</b>, which is "
        f"<b>{pace.ratio:.2f}</b> of the lower bound {seconds(pace.bound_s)} ({reason}). "
        f'<span class="dim">The first test began {seconds(first - view.run.started)} '
        "after the run did.</span></p>\n"
        f'<div class="timeline scroll">{drawing}</div>\n'
        '<ul class="legend">'
        '<li><i style="background:var(--wt-good)"></i>good</li>'
        '<li><i style="background:var(--wt-good-soft)"></i>set-up and teardown</li>'
        '<li><i style="background:var(--wt-bad)"></i>failed, error, crashed or timeout</li>'
        '<li><i style="background:var(--wt-skip)"></i>skipped</li>'
        '<li><i style="background:var(--wt-flaky)"></i>flaky</li>'
        '<li><i style="background:repeating-linear-gradient(45deg,var(--wt-quarantine) 0 2px,'
        'transparent 2px 5px)"></i>quarantined</li></ul>\n'
    )


def _bar(row: OutcomeRow, first: float, flaky: frozenset[str]) -> Bar:
    outcome = row.outcome
    again = f", attempt {row.attempt}" if row.attempt > 1 or not row.final else ""
    return Bar(
        lane=row.worker,
        start_s=row.started - first,
        phases_s=(row.setup_s, row.call_s, row.teardown_s),
        look="bad" if outcome.bad else "good" if outcome.good else "skip",
        label=f"{clean(row.nodeid)}\n{outcome.value}{again}",
        flaky=row.nodeid in flaky,
        quarantined=row.quarantined,
    )


def _failures(view: RunView) -> Iterator[str]:
    bad = [test for test in view.tests if test.outcome.bad]
    if not bad:
        return
    yield f"<h2>Failures<small>{len(bad):,}</small></h2>\n"
    for index, test in enumerate(bad[:_FAILURES]):
        yield _failure(test, with_output=index < _OUTPUTS, opened=index < 3)
    yield _left_out(len(bad) - _FAILURES, "failures are in the table below only")


def _failure(test: TestView, *, with_output: bool, opened: bool) -> str:
    row = test.last
    message = f'<span class="message">{_e(row.message)}</span>' if row.message else ""
    where = f" in {row.phase}" if row.phase in ("setup", "teardown", "collect") else ""
    facts = (
        f"{row.outcome.value}{_e(where)} after {seconds(test.total_s)} on {_e(row.worker)}"
        + (f", {many(test.attempts, 'attempt')}" if test.attempts > 1 else "")
        + (", quarantined: it does not fail the run" if row.quarantined else "")
    )
    replay = f"<p>replay: <code>{_e(row.replay)}</code></p>" if row.replay else ""
    output = ""
    if row.output and with_output:
        cut = row.output[-_OUTPUT_LENGTH:]
        said = "" if len(cut) == len(row.output) else "[the beginning is left out]\n"
        output = f"<pre>{said}{_e(cut, lines=True)}</pre>"
    return (
        f"<details{' class=q' if row.quarantined else ''}{' open' if opened else ''}>"
        f'<summary><span class="id">{_e(test.nodeid)}</span>{message}</summary>'
        f'<p class="dim">{facts}</p>{replay}{output}</details>\n'
    )


def _unfinished(view: RunView) -> Iterator[str]:
    if not view.unfinished:
        return
    yield "<h2>Not finished<small>begun, and stopped with the run</small></h2>\n<ul>"
    for row in view.unfinished[:_FAILURES]:
        worker = _e(row.worker)
        yield f'<li><span class="id">{_e(row.nodeid)}</span> <span class="dim">on {worker}</span>'
    yield "</ul>\n"
    yield _left_out(len(view.unfinished) - _FAILURES, "of them")


def _flaky(view: RunView) -> Iterator[str]:
    if not view.flaky:
        return
    yield (
        "<h2>Flaky<small>judged by the record, most damaging first</small></h2>\n"
        '<div class="scroll"><table><thead><tr><th>test</th><th class="n">failure rate</th>'
        "<th>95 % interval</th><th>recent</th><th>why</th></tr></thead><tbody>"
    )
    for judged in view.flaky[:_BROKEN]:
        yield _flaky_row(judged)
    yield "</tbody></table></div>\n"
    yield _left_out(len(view.flaky) - _BROKEN, "flaky tests")


def _flaky_row(judged: Flakiness) -> str:
    tag = '<span class="tag quarantine">quarantine?</span>' if judged.quarantine_recommended else ""
    return (
        f'<tr><td class="id">{_e(judged.nodeid)}{tag}</td>'
        f'<td class="n">{judged.failure_rate:.0%}<br>'
        f'<span class="dim">{judged.failures} of {judged.results}</span></td>'
        f"<td>{interval(judged.rate_low, judged.failure_rate, judged.rate_high, width=90)}</td>"
        f"<td>{strip_svg(judged.strip)}</td><td>{_e(judged.reason)}</td></tr>\n"
    )


def _broken(view: RunView) -> Iterator[str]:
    leaked = [row for row in view.resources if row.action in ("leaked", "reaped")]
    if not view.broken and not leaked:
        return
    total = sum(one.count for one in view.broken) + len(leaked)
    yield (
        f"<h2>Broken rules<small>{total:,}</small></h2>\n"
        '<div class="scroll"><table><thead><tr><th>rule</th><th>on</th><th>what</th>'
        "<th>by</th></tr></thead><tbody>"
    )
    for one in view.broken[:_BROKEN]:
        yield _broken_row(one)
    for row in leaked[:_BROKEN]:
        subject = f"{row.resource} {row.name}"
        yield (
            f'<tr><td class="o">{_e(row.action)}</td><td class="id">{_e(subject)}</td><td></td>'
            f'<td class="id">{_e(row.nodeid)}</td></tr>\n'
        )
    yield "</tbody></table></div>\n"
    yield _left_out(max(0, len(view.broken) - _BROKEN) + max(0, len(leaked) - _BROKEN), "rows")


def _broken_row(one: Broken) -> str:
    where = f'<br><span class="dim">{_e(one.location)}</span>' if one.location else ""
    by = "<br>".join(_e(nodeid) for nodeid in one.nodeids[:3])
    others = f"<br>and {len(one.nodeids) - 3:,} more" if len(one.nodeids) > 3 else ""
    return (
        f'<tr class="{"b" if one.fails else ""}"><td class="o">{_e(one.rule)}</td>'
        f'<td class="id">{_e(one.subject)}</td><td>{_e(one.detail)}{where}</td>'
        f'<td class="id">{by}{others}</td></tr>\n'
    )


def _tests(view: RunView) -> Iterator[str]:
    if not view.tests:
        return
    flaky = view.flaky_names
    kinds = [*dict.fromkeys(test.outcome.value for test in view.tests)]
    kinds += ["flaky"] if flaky else []
    options = "".join(f"<option>{kind}</option>" for kind in kinds)
    yield (
        f"<h2>Tests<small>{len(view.tests):,}, worst first, then longest</small></h2>\n"
        '<div class="tools"><input id="filter" type="search" placeholder="filter by name" '
        'aria-label="filter tests by name"><select id="outcome" aria-label="filter by outcome">'
        f'<option value="">every outcome</option>{options}</select>'
        '<span id="shown" class="dim"></span></div>\n'
        '<div class="scroll"><table id="tests"><thead><tr><th data-sort>outcome</th>'
        '<th data-sort>test</th><th data-sort class="n">seconds</th><th data-sort>worker</th>'
        '<th data-sort class="n">attempts</th><th>recent runs</th></tr></thead><tbody>\n'
    )
    drawn = 0
    for test in view.tests:
        recent = ""
        if len(set(test.strip)) > 1 and drawn < _STRIPS:
            recent, drawn = str(strip_svg(test.strip)), drawn + 1
        yield _test_row(test, recent or uniform(test.strip), flaky)
    yield "</tbody></table></div>\n"


def _test_row(test: TestView, recent: str, flaky: Iterable[str]) -> str:
    row = test.last
    look = "q" if row.quarantined else {"good": "g", "bad": "b"}.get(_look(test.outcome), "s")
    tags = '<span class="tag quarantine">quarantined</span>' if row.quarantined else ""
    if test.nodeid in flaky:
        tags += '<span class="tag flaky">flaky</span>'
    return (
        f"<tr class={look}><td class=o>{test.outcome.value}</td>"
        f"<td class=id>{_e(test.nodeid)}{tags}</td>"
        f"<td class=n data-v={test.total_s:.6f}>{test.total_s:.3f}</td>"
        f"<td>{_e(row.worker)}</td><td class=n data-v={test.attempts}>{test.attempts}</td>"
        f"<td>{recent}</td></tr>\n"
    )


def uniform(strip: str) -> str:
    """A strip of one letter, in words, since its drawing would say no more; else its letters.

    >>> uniform("...."), uniform("..F.")
    ('4 × passed', '..F.')
    """
    if len(set(strip)) != 1:
        return _e(strip)
    try:
        return f"{len(strip)} × {Outcome.from_letter(strip[-1]).value}"
    except KeyError:
        return _e(strip)


def _look(outcome: Outcome) -> str:
    return "bad" if outcome.bad else "good" if outcome.good else "skip"


def _left_out(count: int, what: str) -> str:
    return f'<p class="dim">{count:,} more {what}.</p>\n' if count > 0 else ""


def _e(text: str, *, lines: bool = False) -> str:
    return html.escape(clean(text, lines=lines), quote=True)


def _asset(name: str) -> str:
    return (importlib.resources.files("windtunnel.report") / name).read_text(encoding="utf-8")
