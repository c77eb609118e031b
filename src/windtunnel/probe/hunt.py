"""``windtunnel flaky hunt``: find out by intervention why a test is flaky.

:func:`main` reads the command line; :class:`Hunt` opens the labs, and for each test runs it
alone, looks at orders if it always ends alike alone, and changes one thing after another if it
does not, or if no order matters. What each step does stands in its own module: ``orders``,
``imports``, ``interventions``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from windtunnel.core import REAL_CLOCK, ExitCode, Outcome, Seed, Settings, UsageError
from windtunnel.core.settings import read_pyproject
from windtunnel.probe import imports, interventions, orders, show, targets
from windtunnel.probe.bench import Bench, Budget, OutOfBudget
from windtunnel.probe.findings import Cause, Finding
from windtunnel.probe.lab import Fresh, Lab, Site
from windtunnel.probe.statistics import Rate

_NO_RANDOM_ORDER = ("-p", "no:randomly")
_FRESH_RUNS = 3


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code.

    0: every test asked about is explained, or is flaky for a reason that was not found; 17
    (``NOT_REPRODUCED``): no test could be made to end in two ways; 5: there is nothing to hunt.

    :raises UsageError: when an option, a test's name or the suite cannot be used.
    """
    options = _parse(argv)
    tell = _teller(options.quiet)
    site = Site(
        [*_NO_RANDOM_ORDER, *options.pytest_args],
        cwd=Path.cwd(),
        limit_s=options.time_limit,
        snapshot=not options.share_files,
    )
    hunt = Hunt(options, site, Budget(options.budget, tell))
    try:
        findings = hunt.run(None if options.json else print)
    finally:
        hunt.close()
        tell("")
    if options.json:
        print(show.as_json(findings, site.notes, REAL_CLOCK.monotonic() - hunt.budget.began))
    else:
        for note in site.notes:
            print(f"note: {note}")
    if not findings:
        print("no test is flaky in the record, and none ended in two ways here", file=sys.stderr)
        return int(ExitCode.NO_TESTS if not hunt.collected else ExitCode.NOT_REPRODUCED)
    if all(finding.cause is Cause.NOT_REPRODUCED for finding in findings):
        return int(ExitCode.NOT_REPRODUCED)
    return int(ExitCode.OK)


def _parse(argv: list[str]) -> argparse.Namespace:
    own, _, rest = _partition(argv)
    parser = argparse.ArgumentParser(
        prog="windtunnel flaky hunt",
        description="Find out by intervention why tests are flaky.",
        epilog="What follows a lone -- is given to every pytest that is started.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "tests",
        nargs="*",
        metavar="TEST",
        help="as on pytest's command line; without any, those that the record shows both passing "
        "and failing, and where there are none, those that end differently in different orders",
    )
    parser.add_argument(
        "--suite",
        action="append",
        default=[],
        metavar="PATH",
        help="what to collect as the whole suite (default: what pytest collects by itself)",
    )
    parser.add_argument(
        "--repeats", type=_positive, default=10, metavar="N", help="runs of each case (10)"
    )
    parser.add_argument(
        "--orders", type=_positive, default=4, metavar="N", help="shuffled orders to try (4)"
    )
    parser.add_argument(
        "--budget", type=float, default=600.0, metavar="SECONDS", help="for the whole hunt (600)"
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="after which a test counts as hanging (30; less once it is known how long it takes)",
    )
    parser.add_argument(
        "--change",
        action="append",
        default=[],
        choices=[intervention.key for intervention in interventions.INTERVENTIONS],
        help="beside orders, change only this (may be given several times; default: all)",
    )
    parser.add_argument("--seed", type=Seed.parse, default=Seed(0), help="of the shuffles (0)")
    parser.add_argument("--cleaners", action="store_true", help="look for cleaners, too")
    parser.add_argument("--record", default=None, metavar="FILE", help="the record to read")
    parser.add_argument(
        "--share-files",
        action="store_true",
        help="let experiments see and keep what others wrote, instead of an overlay for each",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parser.parse_args(own)
    options.pytest_args = rest
    return options


def _partition(argv: list[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in argv:
        return argv, "", []
    place = argv.index("--")
    return argv[:place], "--", argv[place + 1 :]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return value


def _teller(quiet: bool) -> Callable[[str], None]:
    """Shows progress on stderr: one line rewritten on a terminal, a line each step elsewhere."""
    if quiet:
        return lambda text: None
    if not sys.stderr.isatty():
        return lambda text: print(f"hunt: {text}", file=sys.stderr, flush=True) if text else None
    return lambda text: print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


class Hunt:
    """All that one call of the command does."""

    def __init__(self, options: argparse.Namespace, site: Site, budget: Budget) -> None:
        self.options = options
        self.site = site
        self.budget = budget
        self.plan = orders.Plan(
            orders=options.orders,
            repeats=options.repeats,
            seed=options.seed,
            cleaners=options.cleaners,
        )
        self.collected = 0
        self._labs: list[Lab] = []

    def close(self) -> None:
        """End every process, remove every file."""
        for lab in self._labs:
            lab.close()
        self.site.close()

    def run(self, shown: Callable[[str], None] | None) -> list[Finding]:
        """Hunt for every target; ``shown`` is called with each finding as it is made."""
        self.budget.tell("collecting the suite")
        suite = self.options.suite or targets.suite_of(self.options.tests, self.site.cwd)
        lab = self._open(suite)
        self.collected = len(lab.items)
        self.site.protect(lab.rootdir)
        for error in lab.errors:
            self.site.notes.append(f"could not be collected: {error}")
        fresh = Fresh(self.site, _spelled(lab, self.site.cwd))
        whole = lab if lab.forkable else None
        if whole is None:
            self.site.notes.append(
                f"importing the suite starts threads ({lab.threads - 1}), so it is not forked: "
                "each experiment is a process of its own, and takes longer"
            )
        findings: list[Finding] = []
        found = self._targets(lab, whole, fresh)
        for number, nodeid in enumerate(found):
            finding = self._one(nodeid, lab, whole, fresh, self.budget.share(len(found) - number))
            findings.append(finding)
            if shown is not None:
                self.budget.tell("")
                shown(show.as_text(finding, lambda nodeid: fresh.spelled.get(nodeid, nodeid)))
        return findings

    def _open(self, arguments: Sequence[str]) -> Lab:
        try:
            lab = Lab(self.site, arguments)
        except UsageError as error:
            if "unrecognized arguments" not in error.found:
                raise
            # Options of the plugin that was to stay away stand in the project's addopts.
            self.site.arguments = tuple(self.site.arguments[len(_NO_RANDOM_ORDER) :])
            lab = Lab(self.site, arguments)
        self._labs.append(lab)
        return lab

    def _targets(self, lab: Lab, whole: Lab | None, fresh: Fresh) -> list[str]:
        if self.options.tests:
            return targets.named(self.options.tests, lab.items, self.site.cwd)
        settings = Settings.resolve({}, {}, read_pyproject(Path(lab.rootdir)))
        record = Path(self.options.record or Path(lab.rootdir) / settings.record)
        found = targets.recorded(record, lab.items)
        if found:
            return found
        return targets.discovered(whole, fresh, lab.items, self.budget)

    def _one(
        self, nodeid: str, lab: Lab, whole: Lab | None, fresh: Fresh, budget: Budget
    ) -> Finding:
        began = REAL_CLOCK.monotonic()
        finding = Finding(nodeid=nodeid)
        try:
            small = self._open([fresh.spelled[nodeid]])
        except UsageError as error:
            finding.cause = Cause.NOT_REPRODUCED
            finding.reason = "it cannot be collected by itself"
            finding.notes.append(error.found[-300:])
            return finding
        bench = Bench(
            nodeid,
            [item.nodeid for item in lab.items],
            lab=whole,
            small=small if small.forkable else None,
            fresh=fresh,
            budget=budget,
        )
        try:
            self._explain(bench, finding, lab)
        except OutOfBudget as error:
            finding.notes.append(error.what)
            if finding.cause is Cause.UNKNOWN and not finding.reason:
                finding.reason = "there was no time to find out"
        finally:
            self._labs.remove(small)
            small.close()
            self.site.limits.pop(nodeid, None)
        if bench.failure is not None:
            finding.message = bench.failure.message
            finding.stacks = bench.failure.stacks
        if bench.breakers:
            finding.notes.append(
                "left out of orders because the process does not survive them: "
                + ", ".join(bench.breakers)
            )
        finding.duration_s = round(REAL_CLOCK.monotonic() - began, 3)
        return finding

    def _explain(self, bench: Bench, finding: Finding, lab: Lab) -> None:
        bench.budget.check()
        bench.budget.tell(f"{bench.target}: alone")
        forked = bench.alone(self.plan.repeats)
        fresh = bench.alone(_FRESH_RUNS, fresh=True)
        if not forked.runs and not fresh.runs:
            finding.cause = Cause.NOT_REPRODUCED
            finding.reason = "it is skipped here, or does not run"
            return
        self._tighten_limit(bench)
        if fresh.mixed and bench.small is not None and not forked.mixed:
            bench.small = None  # forks share what differs from process to process
            fresh += bench.alone(_FRESH_RUNS, fresh=True)
            forked = fresh
        alone, whole = forked + fresh, bench.lab
        if not alone.mixed:
            if self._imports(bench, finding, lab, fresh):
                return
            if whole is not None and bench.lab is None:
                # What forks share may be chance: only processes of their own tell.
                fresh += bench.alone(self.plan.repeats, fresh=True)
                alone = forked = fresh
        if not alone.mixed and orders.investigate(bench, finding, alone, self.plan):
            self._command_of_order(bench, finding)
            return
        if interventions.investigate(
            bench, finding, forked, self.plan.repeats, self.options.change
        ):
            return
        _give_up(finding, alone, bench)

    def _tighten_limit(self, bench: Bench) -> None:
        """Now that it is known how long the test takes, a hang need not be waited for so long."""
        if bench.longest_s:
            limit_s = max(3.0, 30 * bench.longest_s)
            self.site.limits[bench.target] = min(self.site.limit_s, limit_s)

    def _imports(self, bench: Bench, finding: Finding, lab: Lab, fresh: Rate) -> bool:
        if bench.lab is None:
            return False
        among_all = bench.rate(lambda: bench.fails_alone(bench.lab), 2)
        if among_all.runs == 0 or among_all.mixed or among_all.always == fresh.always:
            return False
        own = next(item.path for item in lab.items if item.nodeid == bench.target)
        paths = dict.fromkeys(item.path for item in lab.items if item.path != own)
        files = [_relative(path, self.site.cwd) for path in paths]
        if not imports.investigate(bench, finding, fresh, files):
            # The fork and a fresh process disagree for another reason: trust the fresh one.
            finding.notes.append("forked sessions end otherwise than fresh ones: not forked")
            bench.lab = bench.small = None
            return False
        words = imports.command_words(finding)
        finding.command = show.shell(bench.fresh.command([bench.target], words))
        return True

    def _command_of_order(self, bench: Bench, finding: Finding) -> None:
        before = (finding.polluters or finding.state_setters)[:1] or finding.together
        finding.command = show.shell(bench.fresh.command([*before, bench.target]))


def _give_up(finding: Finding, alone: Rate, bench: Bench) -> None:
    flipped = any(contrast.after_rate.mixed for contrast in finding.tried)
    if alone.mixed or flipped:
        share = "at times" if flipped and not alone.mixed else f"{alone} times"
        finding.reason = f"it fails {share} alone, and nothing that was changed explains it"
        finding.command = show.shell(bench.fresh.command([bench.target]))
        return
    finding.cause = Cause.NOT_REPRODUCED
    always = "fails" if alone.always else "passes"
    finding.reason = f"it {always} always, in every order and under every change that was tried"
    if alone.always and bench.reached:
        hosts = ", ".join(sorted(bench.reached)[:5])
        finding.notes.append(f"it asks for hosts outside this machine: {hosts}")
    if alone.always and bench.failure is not None and bench.failure.outcome is Outcome.TIMEOUT:
        finding.notes.append("it hangs")


def _spelled(lab: Lab, cwd: Path) -> dict[str, str]:
    """Each test as pytest takes it on the command line in ``cwd``."""
    return {
        item.nodeid: f"{_relative(item.path, cwd)}::{item.inner}" if item.inner else item.path
        for item in lab.items
    }


def _relative(path: str, cwd: Path) -> str:
    return os.path.relpath(path, cwd)
