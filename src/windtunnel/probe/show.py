"""How findings read: in a terminal, and as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence

from windtunnel.probe.findings import JSON_VERSION, Finding
from windtunnel.probe.statistics import Rate

_LISTED_MOST = 25
_TELLING = 0.05


def as_json(findings: Sequence[Finding], notes: Sequence[str], duration_s: float) -> str:
    """The versioned document of ``--json``."""
    return json.dumps(
        {
            "format": "windtunnel.hunt",
            "version": JSON_VERSION,
            "duration_s": round(duration_s, 3),
            "notes": list(notes),
            "tests": [finding.as_json() for finding in findings],
        },
        indent=2,
    )


def as_text(finding: Finding, spell: Callable[[str], str]) -> str:
    """One test's finding, a label a line.

    :param spell: turns a node id into what pytest takes on the command line here.
    """
    lines = [finding.nodeid]

    def say(label: str, text: str) -> None:
        if text:
            lines.append(f"  {label:<12} {text}")

    say("class", str(finding.cause))
    say("why", finding.reason)
    for label, names in (
        ("polluters", finding.polluters),
        ("setters", finding.state_setters),
        ("together", finding.together),
        ("cleaners", finding.cleaners),
    ):
        for index, name in enumerate(names[:_LISTED_MOST]):
            say("" if index else label, name)
        if len(names) > _LISTED_MOST:
            say("", f"and {len(names) - _LISTED_MOST} more (see --json)")
    if finding.candidates:
        say("tried", f"{finding.candidates_tried} of {finding.candidates} others, each alone")
    if finding.shown_by is not None:
        say("shown by", str(finding.shown_by))
        say(
            "",
            f"95 % intervals {_interval(finding.shown_by.before_rate)}, "
            f"{_interval(finding.shown_by.after_rate)}",
        )
    say("state", finding.where)
    say("failure", finding.message)
    telling = [contrast for contrast in finding.tried if contrast.p_value <= _TELLING]
    for contrast in telling:
        say("also", str(contrast))
    rest = [contrast for contrast in finding.tried if contrast.p_value > _TELLING]
    say("no effect", "; ".join(f"{contrast.after} {contrast.after_rate}" for contrast in rest))
    for note in finding.notes:
        say("note", note)
    say("reproduce", finding.command)
    if finding.confirmed is not None and finding.confirmed.runs:
        say("", f"(failed {finding.confirmed} times in fresh processes)")
    for line in finding.stacks.splitlines()[:30]:
        say("stacks", line)
    return "\n".join(lines)


def _interval(rate: Rate) -> str:
    low, high = rate.interval()
    return f"{low:.0%} to {high:.0%}"


def shell(words: Sequence[str]) -> str:
    """The words as one line for a shell."""
    return shlex.join(words)
