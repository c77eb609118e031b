"""A pytest plugin for the processes in which experiments run: it reports, and stays out of sight.

It is loaded by ``-p windtunnel.probe.observer``, in a lab and in a fresh process. It writes each
test's start and end to a pipe (:mod:`windtunnel.probe.watch` reads it), applies those conditions
that concern the inside of the process, and undoes options that would change an experiment: random
order, reruns, stopping at the first failure, workers, the last-failed cache.

The environment variable ``WINDTUNNEL_PROBE`` holds JSON: ``lines`` and ``stacks`` (descriptors of
the pipes, if any), ``wishes`` (see :class:`windtunnel.probe.experiment.Conditions`), ``missing``
(wishes not fulfilled) and ``addopts`` (``PYTEST_ADDOPTS`` before this plugin was added to it).
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

from windtunnel.core import Outcome
from windtunnel.probe import inside
from windtunnel.probe.chamber import VARIABLE
from windtunnel.probe.watch import STACKS_SIGNAL

# Options of pytest and of well-known plugins under which an experiment would not be what it
# says, and the values that switch them off. Absent ones are left absent.
_QUIET: dict[str, object] = {
    "maxfail": 0,
    "lf": False,
    "failedfirst": False,
    "newfirst": False,
    "stepwise": False,
    "continue_on_collection_errors": True,
    "numprocesses": 0,
    "dist": "no",
    "tx": [],
    "reruns": 0,
    "force_flaky": False,
    "randomly_reorganize": False,
    "random_order": False,
    "random_order_bucket": None,
    "xmlpath": None,
    "no_cov": True,
    "pastebin": None,
}
_MESSAGE_MOST = 300


class Reporter:
    """Writes what happens in this process to the pipe."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        self.index_of: dict[str, int] = {}
        self._bad: tuple[Outcome, str, str] | None = None
        self._good = (Outcome.PASSED, "call", "")
        self._duration_s = 0.0
        self._pid = os.getpid()

    def say(self, said: str, **more: object) -> None:
        """Write one line."""
        if os.getpid() != self._pid:
            return  # a test forked, and its child came back into pytest
        line = json.dumps({"said": said, **more}).encode() + b"\n"
        while line:
            line = line[os.write(self.lines, line) :]

    def adopt(self) -> None:
        """Report from the calling process, a forked child, as well."""
        self._pid = os.getpid()

    def started(self, nodeid: str) -> None:
        """A test begins."""
        self._bad, self._good, self._duration_s = None, (Outcome.PASSED, "call", ""), 0.0
        self.say("start", index=self.index_of[nodeid], pid=os.getpid())

    def report(self, report: pytest.TestReport) -> None:
        """One of its reports."""
        self._duration_s += getattr(report, "duration", 0.0)
        outcome = _outcome(report)
        if outcome.bad:
            if self._bad is None:
                self._bad = (outcome, str(report.when), _message(report))
        elif outcome is not Outcome.PASSED:
            self._good = (outcome, str(report.when), _message(report))

    def finished(self, nodeid: str) -> None:
        """The test has ended."""
        outcome, phase, message = self._bad or self._good
        self.say(
            "finish",
            index=self.index_of[nodeid],
            outcome=outcome.value,
            phase=phase,
            message=message,
            duration_s=self._duration_s,
        )

    def watch_network(self) -> None:
        """From now on, say which hosts outside this machine are asked for."""
        known: set[str] = set()

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            host = inside.outside_host(event, arguments)
            if host and host not in known and len(known) < 20:
                known.add(host)
                self.say("reached", host=host)

        sys.addaudithook(audit)


def _outcome(report: pytest.TestReport) -> Outcome:
    if report.outcome == "failed":
        return Outcome.FAILED if report.when == "call" else Outcome.ERROR
    if str(report.outcome) == "rerun":
        return Outcome.FAILED  # a rerun hides the very failure that is looked for
    if hasattr(report, "wasxfail"):
        return Outcome.XFAILED if report.outcome == "skipped" else Outcome.XPASSED
    return Outcome.SKIPPED if report.outcome == "skipped" else Outcome.PASSED


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message) if crash is not None else str(report.longrepr or "")
    if isinstance(report.longrepr, tuple):
        text = str(report.longrepr[2])
    return next((line for line in text.splitlines() if line.strip()), "")[:_MESSAGE_MOST]


reporter: Reporter | None = None
_probing = False
undone: list[str] = []
"""Names of the options that were undone."""
_wishes: dict[str, Any] = {}


def probe() -> None:
    """This process is for experiments. A pytest that a test starts in it may load us too."""
    global _probing
    _probing = True


def begin(lines: int, stacks: int | None) -> Reporter:
    """Report to these descriptors from now on."""
    global reporter
    reporter = Reporter(lines)
    if stacks is not None and hasattr(faulthandler, "register"):
        faulthandler.register(STACKS_SIGNAL, file=stacks, all_threads=True)
    return reporter


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before the first conftest is imported: conditions that imports should already meet."""
    given = os.environ.pop(VARIABLE, "")
    if given:
        said = json.loads(given)
        probe()
        if "addopts" in said:  # what was added is not for a pytest that the tests start
            os.environ["PYTEST_ADDOPTS"] = said["addopts"]
            if not said["addopts"]:
                del os.environ["PYTEST_ADDOPTS"]
        _wishes.update(said["wishes"])
        if "lines" in said:
            mine = begin(said["lines"], said["stacks"])
            if said.get("missing"):
                mine.say("missing", missing=said["missing"])
        inside.apply(_wishes, early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Undo the options that would spoil an experiment."""
    if not _probing:
        return
    for name, value in _QUIET.items():
        given = getattr(config.option, name, value)
        if given != value and (given or value):
            undone.append(name)
            setattr(config.option, name, value)
    if hasattr(config.option, "wt_workers"):
        config.option.wt_workers = 0


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """A fresh process runs its tests: number them, and say when all is done."""
    rank = {nodeid: index for index, nodeid in enumerate(_wishes.get("order", ()))}
    if rank and rank.keys() >= {item.nodeid for item in session.items}:
        session.items.sort(key=lambda item: rank[item.nodeid])
    if reporter is None:
        return (yield)
    nodeids = [item.nodeid for item in session.items]
    reporter.index_of = {nodeid: index for index, nodeid in enumerate(nodeids)}
    reporter.say("order", nodeids=nodeids)
    reporter.watch_network()
    try:
        return (yield)
    finally:
        reporter.say("done")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around each test: say that it starts and how it ended."""
    if reporter is None:
        return (yield)
    reporter.started(item.nodeid)
    inside.before_test(_wishes, item.config)
    result = yield
    reporter.finished(item.nodeid)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Each phase of each attempt."""
    if reporter is not None:
        reporter.report(report)


def wish(wishes: dict[str, Any]) -> None:
    """Make these the wishes that hold before each test."""
    _wishes.clear()
    _wishes.update(wishes)
