"""``windtunnel models check URL``: put a server to the laws of its API."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from windtunnel.core import ExitCode, UsageError, Verdict

if TYPE_CHECKING:
    from windtunnel.models.laws import Finding

SCHEMA = 1
"""Version of the JSON output; it grows when a field changes its meaning or goes away."""

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.UNKNOWN: "yellow"}


def add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to its group."""
    check = commands.add_parser(
        "check",
        help="put a server to the laws of its API",
        description="Put a server, real or fake, to the laws of the model APIs it speaks. It "
        "sends requests that cost tokens. Exits with 1 when a law fails.",
        allow_abbrev=False,
    )
    check.add_argument("url", metavar="URL", help="where the server is, http://host:port")
    check.add_argument(
        "--dialect",
        action="append",
        metavar="NAME",
        help="ollama, openai, anthropic or gemini; may be repeated (those it answers in)",
    )
    check.add_argument("--model", default="", metavar="NAME", help="which to ask (one it lists)")
    check.add_argument("--key", help="the key to present")
    check.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="for one answer (60)"
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Check, print a line a law, and say with the exit code whether one failed."""
    from windtunnel.models.laws import laws_of, spoken

    if not given.timeout > 0:
        raise UsageError("--timeout takes seconds above zero", found=str(given.timeout))
    for name in given.dialect or ():
        laws_of(name)  # a name that is none is told before anything is sent
    dialects = given.dialect or spoken(given.url, key=given.key)
    coming = _findings(given, dialects)
    if given.json:
        found = list(coming)
        print(json.dumps(document(given.url, found), indent=2))
    else:
        width = max(len(f"{name} {law.name}") for name in dialects for law in laws_of(name))
        found = list(_told(coming, width))
        print(summary(found))
    failed = any(finding.verdict is Verdict.FAIL for finding in found)
    return int(ExitCode.TESTS_FAILED if failed else ExitCode.OK)


def _findings(given: argparse.Namespace, dialects: Sequence[str]) -> Iterator[Finding]:
    from windtunnel.models.laws import check

    for name in dialects:
        yield from check(given.url, name, model=given.model, key=given.key, timeout_s=given.timeout)


def document(url: str, found: Iterable[Finding]) -> dict[str, object]:
    """The JSON output: schema, URL and every finding."""
    return {"schema": SCHEMA, "url": url, "findings": [one.as_json() for one in found]}


def summary(found: Sequence[Finding]) -> str:
    """The last line: how many of each."""
    each = [f"{sum(one.verdict is kind for one in found)} {word}" for kind, word in _WORDS]
    return f"{len(found)} laws: {', '.join(each)}"


_WORDS = ((Verdict.PASS, "hold"), (Verdict.FAIL, "fail"), (Verdict.UNKNOWN, "unknown"))


def _told(coming: Iterable[Finding], width: int) -> Iterator[Finding]:
    """Print each finding as soon as it is there: a real model takes its time."""
    rich = sys.stdout.isatty()
    for one in coming:
        name = f"{one.law.dialect} {one.law.name}"
        text = one.law.says + (f": {one.reason}" if one.reason else "")
        if rich:
            _print_rich(one.verdict, f"{name:<{width}}", text)
        else:
            print(f"{one.verdict.value:<7}  {name:<{width}}  {text}", flush=True)
        yield one


def _print_rich(verdict: Verdict, name: str, text: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    style = _STYLES[verdict]
    Console().print(
        f"[{style}]{verdict.value:<7}[/{style}]  [bold]{escape(name)}[/bold]  {escape(text)}",
        highlight=False,
        soft_wrap=True,
    )


__all__ = ["add_check", "document", "run", "summary"]
