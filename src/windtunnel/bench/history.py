"""Measurements over runs: the series of a figure on one machine, its levels, and the latest.

The record holds samples of every run. Figures are compared with those of the same machine and
interpreter alone; the baseline is the present level: the runs since the last change point.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from windtunnel.bench import machine, statistics
from windtunnel.bench.changes import ChangePoint, change_points
from windtunnel.bench.decision import Change
from windtunnel.bench.result import Json
from windtunnel.bench.units import duration, percent
from windtunnel.core import UsageError
from windtunnel.draw import Element, drawing, line, shorten, tag
from windtunnel.record import Record

_ENOUGH = 5  # runs of the present level before a further one is judged
_FLOOR = 0.05
_WIDTHS = 4.0  # of the level's own scatter


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run's figure.

    :param run: the run's number in the record.
    :param time: when it began, seconds since the epoch.
    :param value: seconds a call.
    :param n: samples on record.
    :param failures: calls that failed.
    """

    run: int
    time: float
    commit: str
    value: float
    n: int
    failures: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The series of one measurement on one machine.

    :param name: the measurement's.
    :param figure: which figure of each run: ``median``, ``min``, ``p95`` …
    :param machine: where (:func:`windtunnel.bench.machine.fingerprint`).
    :param entries: oldest first.
    :param changes: where the level changed; ``index`` counts entries.
    :param failures: calls that failed, in runs without a single success, too.
    """

    name: str
    figure: str
    machine: str
    entries: tuple[Entry, ...]
    changes: tuple[ChangePoint, ...]
    failures: int = 0

    @property
    def values(self) -> list[float]:
        """The figures, oldest first."""
        return [entry.value for entry in self.entries]

    @property
    def level(self) -> tuple[Entry, ...]:
        """The entries since the last change."""
        return self.entries[self.changes[-1].index :] if self.changes else self.entries

    def judge(self, value: float) -> Change:
        """A new figure beside the present level: unknown with fewer than five runs of it.

        It is a change when it differs from the level's median by more than 5 % and by more than
        four times the level's own scatter. One run beside earlier ones is weak evidence on a
        noisy machine: :func:`windtunnel.bench.compare` is the strong one.
        """
        known = [entry.value for entry in self.level]
        if len(known) < _ENOUGH:
            return Change.UNKNOWN
        middle = statistics.median(known)
        room = max(_FLOOR * middle, _WIDTHS * 1.4826 * statistics.mad(known))
        if value > middle + room:
            return Change.SLOWER
        return Change.FASTER if value < middle - room else Change.SAME

    def to_json(self) -> dict[str, Json]:
        """As plain data, format 1."""
        return {
            "format": 1,
            "name": self.name,
            "figure": self.figure,
            "machine": self.machine,
            "failures": self.failures,
            "entries": [dict(dataclasses.asdict(entry)) for entry in self.entries],
            "changes": [
                {**dataclasses.asdict(point), "run": self.entries[point.index].run}
                for point in self.changes
            ],
        }

    def __str__(self) -> str:
        return "\n".join(_text(self))

    def picture(self, *, width: float = 640) -> Element:
        """The series as a line, changes of level marked."""
        return _picture(self, width)


def read_names(record: Record) -> list[str]:
    """The names of all measurements on record, in the order they were first seen."""
    return list(dict.fromkeys(row.unit for row in record.samples("bench/measured")))


def read_history(
    record: Record, name: str, *, figure: str = "median", on: str = "", floor: float = 0.02
) -> History:
    """The history of a measurement.

    :param name: as it was measured.
    :param figure: ``min``, ``mean``, ``median`` or a percentile such as ``p95``.
    :param on: the machine; this one where empty.
    :param floor: changes of level up to this share are none.
    :raises UsageError: where there is no such figure.
    """
    on = on or machine.fingerprint()
    here = {row.run for row in record.samples("bench/on") if row.unit == on}
    facts = {run.number: (run.started, run.commit) for run in record.runs() if run.number in here}
    times: dict[int, list[float]] = {}
    failures: dict[int, int] = {}
    for row in record.samples(f"bench/{name}"):
        if row.run in facts and row.unit == "s" and not row.failed:
            times.setdefault(row.run, []).append(row.value)
    for row in record.samples(f"bench/{name}/failures"):
        if row.run in facts:
            failures[row.run] = failures.get(row.run, 0) + round(row.value)
    entries = tuple(
        Entry(
            run=run,
            time=facts[run][0],
            commit=facts[run][1],
            value=_figure(found, figure),
            n=len(found),
            failures=failures.get(run, 0),
        )
        for run, found in sorted(times.items())
    )
    changes = change_points([entry.value for entry in entries], floor=floor)
    return History(
        name=name,
        figure=figure,
        machine=on,
        entries=entries,
        changes=tuple(changes),
        failures=sum(failures.values()),
    )


def _figure(times: Sequence[float], figure: str) -> float:
    if figure == "mean":
        return statistics.mean(times)
    places = {"min": 0.0, "median": 50.0}
    try:
        place = places[figure] if figure in places else float(figure.removeprefix("p"))
    except ValueError:
        place = -1.0
    if not 0 <= place <= 100:
        raise UsageError(
            "a history has no such figure", found=repr(figure), fix="min, mean, median, p95 …"
        )
    return statistics.quantile(sorted(times), place / 100)


def _text(history: History) -> list[str]:
    runs = len(history.entries)
    lines = [f"{history.name}: {history.figure} over {runs} runs on {history.machine}"]
    failed = f"  {history.failures:,} calls FAILED" if history.failures else ""
    if not history.entries:
        return [*lines, failed or "  nothing on record here"]
    edges = [0, *(point.index for point in history.changes), runs]
    for number, start in enumerate(edges[:-1]):
        part = history.entries[start : edges[number + 1]]
        middle = duration(statistics.median([entry.value for entry in part]))
        spread = duration(statistics.mad([entry.value for entry in part]))
        text = f"  runs {part[0].run}-{part[-1].run}: {middle}, MAD {spread}"
        if number:
            point = history.changes[number - 1]
            commit = f", commit {part[0].commit[:10]}" if part[0].commit else ""
            text += f"  CHANGED by {percent(point.ratio - 1)} (p = {point.p:.3f}{commit})"
        lines.append(text)
    if failed:
        lines.append(failed)
    return lines


def _picture(history: History, width: float) -> Element:
    height = 160.0
    title = f"{history.name}: {history.figure} over {len(history.entries)} runs"
    top: list[Element | str] = [tag("text", shorten(title, int(width / 6.2)), x=0, y=12)]
    unit, scale = ("ms", 1e3) if max(history.values, default=1.0) >= 1e-4 else ("µs", 1e6)
    points = [(float(i), value * scale) for i, value in enumerate(history.values)]
    chart = line(points, width=width, height=height - 34, unit=unit, label=title)
    # The chart's own children, below the title; its x goes from 0 to the full width.
    top.append(tag("g", *chart.children, transform="translate(0 18)"))
    last = max(1, len(history.entries) - 1)
    for point in history.changes:
        x = point.index / last * width
        text = percent(point.ratio - 1)
        inside = x + 60 < width
        top += [
            tag("line", x1=x, x2=x, y1=20, y2=height - 16, class_="wt-bound"),
            tag(
                "text",
                text,
                x=x + 4 if inside else x - 4,
                y=height - 20,
                text_anchor=None if inside else "end",
                class_="wt-bound-label wt-halo",
            ),
        ]
    return drawing(width, height, top, label=title)
