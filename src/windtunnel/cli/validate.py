"""``windtunnel validate``: check an integration of sessions; put executors to escape attempts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.core import ExitCode, UsageError, Verdict

if TYPE_CHECKING:
    from windtunnel.sessions.confinement import Report
    from windtunnel.sessions.validation import Finding

SCHEMA = 1
"""Version of the JSON output; it grows when a field changes its meaning or goes away."""

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.UNKNOWN: "yellow"}
_WORDS = ((Verdict.PASS, "pass"), (Verdict.FAIL, "fail"), (Verdict.UNKNOWN, "unknown"))
_CHECKS = ("imports", "engines", "extensions", "adapters", "capabilities", "confinement")


def main(argv: list[str]) -> int:
    """Check, print a line a finding; exits with 1 when something fails, 14 when nothing does and
    an executor could not be put to enough attempts."""
    given = _parser().parse_args(argv)
    if given.family and not given.executor:
        raise UsageError("--family chooses among the attempts of --executor", fix="give both")
    reports: dict[str, Report] = {}
    coming = _findings(given, reports)
    found = list(coming) if given.json else list(_told(coming))
    if given.json:
        print(json.dumps(document(found, reports), indent=2))
    else:
        for name, report in reports.items():
            print(f"\n{name}\n{report.table(every=given.verbose)}")
        print(summary(found))
    return int(exit_code(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="windtunnel validate",
        description="Check an integration of sessions: imports, engines, extensions, adapters "
        "against their contracts, capabilities that are declared and never checked; and put "
        "executors to the attempts to escape from them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="modules, packages or .py files that hold host functions, tokens, adapters, contracts",
    )
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="put the executor, session or checker that it makes to its contract; may be repeated",
    )
    parser.add_argument(
        "--executor",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="put the executor that it makes to every attempt to escape, in a process of its own",
    )
    parser.add_argument(
        "--family", action="append", metavar="NAME", help="only these families of attempts"
    )
    parser.add_argument(
        "--engine", action="append", metavar="NAME", help="try these engines (all that are found)"
    )
    parser.add_argument(
        "--tests",
        action="append",
        default=[],
        metavar="PATH",
        help="run these tests with pytest, and ask which declared capabilities they check",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=_CHECKS,
        metavar="CHECK",
        help=f"only these checks: {', '.join(_CHECKS)}",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show every attempt")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _findings(given: argparse.Namespace, reports: dict[str, Report]) -> Iterator[Finding]:
    from windtunnel.sessions import validation

    wanted = frozenset(given.only or _CHECKS)
    loaded = validation.load(given.modules)
    if "imports" in wanted:
        yield from validation.libraries()
        yield from loaded.findings
    else:  # what cannot be imported is not looked at, which must not go unsaid
        yield from (one for one in loaded.findings if one.verdict is Verdict.FAIL)
    if "engines" in wanted:
        yield from validation.engines(given.engine or ())
    if "extensions" in wanted:
        yield from validation.extensions()
    if "adapters" in wanted:
        yield from validation.adapters(loaded.modules, given.adapter)
    if "capabilities" in wanted:
        yield from _capabilities(loaded.modules, given.tests)
    if "confinement" in wanted:
        for factory in given.executor:
            yield _confined(factory, given.family, reports)


def _capabilities(modules: Sequence[Any], tests: Sequence[str]) -> Iterator[Finding]:
    from windtunnel.sessions import validation

    declared = []
    for finding in validation.declarations(modules):
        yield finding
        if finding.verdict is Verdict.PASS:
            declared.append(finding.name)
    if tests:
        yield from validation.ran(tests, declared)


def _confined(factory: str, families: Sequence[str] | None, reports: dict[str, Report]) -> Finding:
    from windtunnel.sessions.confinement import check_apart
    from windtunnel.sessions.validation import Finding

    report = check_apart(factory, families=families)
    reports[factory] = report
    detail = report.summary().partition(": ")[2]
    return Finding("confinement", factory, report.verdict, detail)


def exit_code(found: Iterable[Finding]) -> ExitCode:
    """What the findings come to."""
    found = list(found)
    if any(one.verdict is Verdict.FAIL for one in found):
        return ExitCode.TESTS_FAILED
    if any(one.check == "confinement" and one.verdict is Verdict.UNKNOWN for one in found):
        return ExitCode.VACUOUS
    return ExitCode.OK


def document(found: Iterable[Finding], reports: dict[str, Report]) -> dict[str, object]:
    """The JSON output: schema, verdict, every finding, and the attempts of each executor."""
    found = list(found)
    code = exit_code(found)
    verdicts = {ExitCode.OK: Verdict.PASS, ExitCode.VACUOUS: Verdict.UNKNOWN}
    return {
        "schema": SCHEMA,
        "verdict": verdicts.get(code, Verdict.FAIL).value,
        "findings": [one.as_json() for one in found],
        "confinement": {name: report.as_json() for name, report in reports.items()},
    }


def summary(found: Sequence[Finding]) -> str:
    """The last line: how many of each."""
    each = [f"{sum(one.verdict is kind for one in found)} {word}" for kind, word in _WORDS]
    return f"{len(found)} finding{'s' * (len(found) != 1)}: {', '.join(each)}"


def _told(coming: Iterable[Finding]) -> Iterator[Finding]:
    """Print each finding as soon as it is there: engines and contracts take their time."""
    rich = sys.stdout.isatty()
    for one in coming:
        where = f" ({one.location})" if one.location else ""
        text = f"{one.detail}{where}"
        if rich:
            _print_rich(one, text)
        else:
            print(f"{one.verdict.value:<7}  {one.check:<12}  {one.name}: {text}", flush=True)
            if one.fix:
                print(f"{'':<7}  {'':<12}  to fix: {one.fix}", flush=True)
        yield one


def _print_rich(one: Finding, text: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    style = _STYLES[one.verdict]
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[{style}]{one.verdict.value:<7}[/{style}]  {one.check:<12}  "
        f"[bold]{escape(one.name)}[/bold]: {escape(text)}"
    )
    if one.fix:
        console.print(f"{'':<23}to fix: {escape(one.fix)}")


__all__ = ["document", "exit_code", "main", "summary"]
