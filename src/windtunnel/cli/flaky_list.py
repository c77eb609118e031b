"""How ``windtunnel flaky`` shows judgements: as JSON, as text, or in colour on a terminal."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from windtunnel.core import Flakiness, Stability

SCHEMA = 1
"""Version of the JSON output; it grows when a field changes its meaning or goes away."""

_LOOKS = {
    Stability.STABLE: "green",
    Stability.FLAKY: "yellow",
    Stability.BROKEN: "red",
    Stability.REGRESSED: "red",
    Stability.UNKNOWN: "dim",
}


def print_list(shown: Sequence[Flakiness], judged: int, record: Path) -> None:
    """Print the list, in colour where standard output is a terminal."""
    if not shown:
        print(f"none of {_tests(judged)} is flaky, judged by {record}")
        return
    print(f"{len(shown)} of {_tests(judged)}, most damaging first, judged by {record}")
    mixed = len({it.environment for it in shown}) > 1
    if sys.stdout.isatty():
        _print_coloured(shown, mixed)
    else:
        print("\n".join(plain_lines(shown, mixed=mixed)))
    if any(it.quarantine_recommended for it in shown):
        print("\n`windtunnel flaky quarantine` proposes entries for the tests marked Q")
    if any(it.stability is Stability.FLAKY for it in shown):
        print("`windtunnel flaky hunt TEST` finds out why")


def plain_lines(shown: Sequence[Flakiness], *, mixed: bool) -> list[str]:
    """The list as text: a line of figures and a line of reasons a test."""
    rows = [_columns(it) for it in shown]
    heads = ("fails", "95% interval", "results", "flaky", "cost/week", "recent", "")
    widths = [max(len(heads[i]), *(len(row[i]) for row in rows)) for i in range(len(heads))]
    lines = ["", _joined(heads, widths)]
    for it, row in zip(shown, rows, strict=True):
        lines.append(f"{_joined(row, widths)}  {it.nodeid}")
        lines.append(f"{' ' * 6}{explained(it, mixed=mixed)}")
    return lines


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    last = len(cells) - 2  # strip and mark stand to the left, figures to the right
    parts = [
        cell.ljust(width) if index >= last else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(parts).rstrip() if not cells[0] else "  ".join(parts)


def _columns(it: Flakiness) -> tuple[str, ...]:
    return (
        f"{it.failure_rate:.0%}",
        f"{it.rate_low:.1%}-{it.rate_high:.1%}",
        str(it.results),
        f"{it.p_flaky:.3f}",
        _span(it.damage_s),
        it.strip,
        "Q" if it.quarantine_recommended else " ",
    )


def explained(it: Flakiness, *, mixed: bool) -> str:
    """Why it is thought so, in one line."""
    words = f"{it.stability.value}: {it.reason}"
    if it.simple_rule:
        words += "; the simple rule holds"
    return f"{words}; in environment {it.environment[:10]}" if mixed and it.environment else words


def _print_coloured(shown: Sequence[Flakiness], mixed: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from windtunnel.draw.strip import kind, strip_text

    looks = {"good": "green", "bad": "bold red", "skip": "dim", "": "dim"}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("fails", "95% interval", "results", "flaky", "cost/week"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("recent", no_wrap=True)
    table.add_column("Q", no_wrap=True)
    table.add_column("test", overflow="fold")
    for it in shown:
        *figures, letters, mark = _columns(it)
        strip = Text()
        for letter in letters:
            strip.append(strip_text(letter), looks[kind(letter)])
        test = Text(it.nodeid, style="bold")
        test.append(f"\n{explained(it, mixed=mixed)}", style=f"not bold {_LOOKS[it.stability]}")
        table.add_row(*figures, strip, Text(mark, style="magenta"), test)
    Console().print(table)


def document(shown: Sequence[Flakiness], judged: int, record: Path) -> str:
    """The list as JSON."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "record": str(record),
            "judged": judged,
            "tests": [
                {**dataclasses.asdict(it), "failure_rate": it.failure_rate, "suspect": it.suspect}
                for it in shown
            ],
        },
        indent=2,
    )


def _tests(number: int) -> str:
    return f"{number} {'test' if number == 1 else 'tests'}"


def _span(seconds: float) -> str:
    """A length of time in its largest sensible unit."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
