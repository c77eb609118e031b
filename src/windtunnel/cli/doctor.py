"""``windtunnel doctor``: what of this machine can be used, and what to install for the rest."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys

from windtunnel import __version__
from windtunnel.core import ExitCode
from windtunnel.own.machine import GROUPS, Capability, survey

SCHEMA = 1
"""Version of the JSON output; it grows when a field changes its meaning or goes away."""


def main(argv: list[str]) -> int:
    """Print the survey; exits with 0 whatever is missing."""
    parser = argparse.ArgumentParser(
        prog="windtunnel doctor",
        description="Say what of this machine can be used, by trying it, and what is missing.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(argv)
    found = survey()
    if given.json:
        print(json.dumps(document(found), indent=2))
    elif sys.stdout.isatty():
        _print_tables(found)
    else:
        print(plain(found))
    return int(ExitCode.OK)


def document(found: list[Capability]) -> dict[str, object]:
    """The JSON output: schema, versions and every capability."""
    return {
        "schema": SCHEMA,
        "windtunnel": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "capabilities": [dataclasses.asdict(capability) for capability in found],
    }


def plain(found: list[Capability]) -> str:
    """The survey as text, a line a capability, what to install at the end."""
    width = max(len(capability.name) for capability in found)
    lines = [_heading()]
    for group, members in _grouped(found):
        lines += ["", group]
        lines += [f"  {_mark(c)}  {c.name:<{width}}  {_facts(c)}" for c in members]
    if missing := _missing(found):
        lines += ["", "missing"]
        lines += [f"  {c.name:<{width}}  for {c.serves}: {c.fix}" for c in missing]
    return "\n".join([*lines, "", _total(found)])


def _print_tables(found: list[Capability]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(title=_heading(), title_justify="left", box=None, pad_edge=False)
    for column in ("", "", "found", "used for", "to fix"):
        table.add_column(column, overflow="fold")
    for group, members in _grouped(found):
        table.add_section()
        table.add_row("", f"[bold]{group}[/bold]")
        for c in members:
            mark = "[green]yes[/green]" if c.usable else "[yellow]no[/yellow]"
            table.add_row(mark, c.name, escape(_facts(c)), c.serves, escape(c.fix))
    console.print(table)
    console.print(_total(found))


def _heading() -> str:
    return f"windtunnel {__version__}, Python {platform.python_version()}, {platform.platform()}"


def _grouped(found: list[Capability]) -> list[tuple[str, list[Capability]]]:
    return [(group, [c for c in found if c.group == group]) for group in GROUPS]


def _mark(capability: Capability) -> str:
    return "yes" if capability.usable else "no "


def _facts(capability: Capability) -> str:
    return "  ".join(fact for fact in (capability.version, capability.detail) if fact)


def _missing(found: list[Capability]) -> list[Capability]:
    return [capability for capability in found if not capability.usable]


def _total(found: list[Capability]) -> str:
    return f"{len(found) - len(_missing(found))} of {len(found)} can be used"
