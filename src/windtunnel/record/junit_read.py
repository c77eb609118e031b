"""Runs out of JUnit XML files: pytest's, ours, and those of other runners.

JUnit XML has no schema that all keep to. What is read: ``testsuite`` with ``timestamp``,
``testcase`` with ``classname``, ``name``, ``file`` and ``time``, and in it ``failure``, ``error``,
``skipped``, Surefire's ``flakyFailure``, ``flakyError``, ``rerunFailure`` and ``rerunError`` (each
an attempt), and the properties whose names begin with ``wt_``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping

from windtunnel.core import Event, Outcome, RunFinished, RunStarted, TestFinished, UsageError

_TEST_MODULE = re.compile(r"test_.*|.*_test|tests?|conftest")
_FLAKY = {"flakyFailure": Outcome.FAILED, "flakyError": Outcome.ERROR}
_RERUN = {"rerunFailure": Outcome.FAILED, "rerunError": Outcome.ERROR}


def junit_run(
    text: bytes, source: str, *, modified: float, known: Mapping[tuple[str, str], str]
) -> tuple[RunStarted, list[Event]]:
    """The run in a JUnit XML file.

    The run is known by ``wt_run_id`` where the file has it and else by the file's content, so
    that the same file is the same run.

    :param text: the file's content.
    :param source: its name, for errors and as the run's command.
    :param modified: when it was written, which stands in for a timestamp it has not.
    :param known: nodeids by the ``classname`` and ``name`` that pytest gives them, so that tests
        the record knows keep their names.
    :raises UsageError: when it is no XML, or no JUnit XML.
    """
    try:
        top = ET.fromstring(text)
    except (ET.ParseError, LookupError, ValueError) as error:
        raise UsageError(f"cannot import {source}: it is no XML", found=str(error)) from None
    if top.tag not in ("testsuite", "testsuites"):
        raise UsageError(
            f"cannot import {source}: it is no JUnit XML",
            found=f"<{top.tag}> at the top",
            fix="give a file with <testsuite> or <testsuites> at the top",
        )
    suites = [top] if top.tag == "testsuite" else list(top.iter("testsuite"))
    facts = _facts(top, suites)
    started = min((_when(suite, modified) for suite in suites), default=modified)
    run = RunStarted(
        time=started,
        run_id=facts.get("run_id") or f"junit-{hashlib.sha256(text).hexdigest()[:16]}",
        argv=facts.get("argv", source),
        root=facts.get("root", ""),
        commit=facts.get("commit", ""),
        tree=facts.get("tree", ""),
        environment=facts.get("environment", "junit"),
        environment_text=facts.get("environment_text", _host(suites)),
        isolation=facts.get("isolation", ""),
        world=facts.get("world", "real"),
        workers=_whole(facts.get("workers"), 0),
        seed=_whole(facts.get("seed"), 0),
        ci=facts.get("ci", ""),
    )
    events: list[Event] = []
    for suite in suites:
        events += _suite(suite, _when(suite, started), known)
    return run, [*events, _finish(run, suites, events)]


def _suite(
    suite: ET.Element, begun: float, known: Mapping[tuple[str, str], str]
) -> Iterable[TestFinished]:
    """Attempts at the tests of one suite. JUnit does not say when each began, only how long it
    took: they are laid one after the other."""
    tests: dict[str, list[TestFinished]] = {}
    at = begun
    for order, case in enumerate(suite.findall("testcase")):
        for event in _attempts(case, _nodeid(case, known), at, order):
            tests.setdefault(event.nodeid, []).append(event)
            at += event.duration_s
    for attempts in tests.values():
        yield from _numbered(_joined(attempts))


def _attempts(case: ET.Element, nodeid: str, started: float, order: int) -> list[TestFinished]:
    facts = _properties(case)
    outcome, element = _outcome(case, facts)
    before: list[tuple[Outcome, ET.Element | None]] = []
    after: list[tuple[Outcome, ET.Element | None]] = []
    for child in case:
        if child.tag in _FLAKY:
            before.append((_FLAKY[child.tag], child))
        elif child.tag in _RERUN:
            after.append((_RERUN[child.tag], child))
    output = (case.findtext("system-out") or "") + (case.findtext("system-err") or "")
    return [
        TestFinished(
            time=started,
            nodeid=nodeid,
            outcome=ended.value,
            worker=facts.get("worker", "main"),
            phase=_phase(ended, told),
            call_s=_seconds(case.get("time")) if told is element else _seconds(_time_of(told)),
            started=started,
            order=order,
            isolation=facts.get("isolation", ""),
            message=_message(told),
            output=output if ended.bad else "",
            quarantined=facts.get("quarantined") == "true",
            replay=facts.get("replay", ""),
            seed=_whole(facts.get("seed"), 0),
        )
        for ended, told in [*before, (outcome, element), *after]
    ]


def _phase(outcome: Outcome, told: ET.Element | None) -> str:
    if not outcome.bad:
        return ""
    if outcome is not Outcome.ERROR:
        return "call"
    return "teardown" if "failed on teardown" in _message(told) else "setup"  # pytest's words


def _outcome(case: ET.Element, facts: Mapping[str, str]) -> tuple[Outcome, ET.Element | None]:
    elements = {child.tag: child for child in case}
    given = facts.get("outcome", "")
    for tag, outcome in (("failure", Outcome.FAILED), ("error", Outcome.ERROR)):
        if tag in elements:
            exact = Outcome(given) if given in set(Outcome) else outcome
            return exact if exact.bad else outcome, elements[tag]
    if "skipped" in elements:
        element = elements["skipped"]
        xfailed = "xfail" in element.get("type", "") or given == Outcome.XFAILED
        return Outcome.XFAILED if xfailed else Outcome.SKIPPED, element
    return Outcome.XPASSED if given == Outcome.XPASSED else Outcome.PASSED, None


def _joined(attempts: list[TestFinished]) -> list[TestFinished]:
    """pytest writes a second testcase for an error in teardown: no attempt of its own."""
    joined: list[TestFinished] = []
    for event in attempts:
        if joined and event.outcome == Outcome.ERROR and joined[-1].order + 1 == event.order:
            first = joined.pop()
            if Outcome(first.outcome).bad:
                event = first
            else:
                event = dataclasses.replace(
                    event, phase="teardown", call_s=first.call_s, order=first.order
                )
        joined.append(event)
    return joined


def _numbered(attempts: list[TestFinished]) -> Iterable[TestFinished]:
    for number, event in enumerate(attempts, start=1):
        yield dataclasses.replace(event, attempt=number, final=number == len(attempts))


def _nodeid(case: ET.Element, known: Mapping[tuple[str, str], str]) -> str:
    classname, name, file = case.get("classname", ""), case.get("name", ""), case.get("file", "")
    given = _properties(case).get("nodeid") or known.get((classname, name))
    if given:
        return given
    if file:
        module = file.removesuffix(".py").replace("\\", "/").replace("/", ".")
        if classname == module or classname.startswith(f"{module}."):
            names = classname.removeprefix(module).lstrip(".").split(".")
        else:
            names = classname.split(".")
        return "::".join(word for word in [file, *names, name] if word)
    return "::".join(word for word in [_from_classname(classname), name] if word)


def _from_classname(classname: str) -> str:
    """``tests.test_a.TestB`` as ``tests/test_a.py::TestB``, where it looks like pytest's."""
    words = classname.split(".")
    modules = [at for at, word in enumerate(words) if _TEST_MODULE.fullmatch(word)]
    if not modules:
        return classname
    end = modules[-1] + 1
    return "::".join(["/".join(words[:end]) + ".py", *words[end:]])


def _facts(top: ET.Element, suites: list[ET.Element]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for element in [top, *suites]:
        facts = _properties(element) | facts
    return facts


def _properties(element: ET.Element) -> dict[str, str]:
    return {
        name[3:]: found.get("value", "")
        for found in element.findall("properties/property")
        if (name := found.get("name", "")).startswith("wt_")
    }


def _finish(run: RunStarted, suites: list[ET.Element], events: list[Event]) -> RunFinished:
    bad = any(
        isinstance(event, TestFinished)
        and event.final
        and Outcome(event.outcome).bad
        and not event.quarantined
        for event in events
    )
    taken = sum(_seconds(suite.get("time")) for suite in suites)
    return RunFinished(
        time=run.time + taken, exit_code=int(bad), duration_s=taken, collected=len(events)
    )


def _host(suites: list[ET.Element]) -> str:
    return next((host for suite in suites if (host := suite.get("hostname"))), "")


def _when(suite: ET.Element, otherwise: float) -> float:
    import datetime

    try:
        when = datetime.datetime.fromisoformat(suite.get("timestamp", ""))
    except ValueError:
        return otherwise
    # Without a zone it is the zone of a machine we know nothing of.
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()


def _message(element: ET.Element | None) -> str:
    if element is None:
        return ""
    text = element.get("message") or (element.text or "").strip()
    return text.strip().split("\n", 1)[0][:300]


def _time_of(element: ET.Element | None) -> str | None:
    return None if element is None else element.get("time")


def _seconds(text: str | None) -> float:
    try:
        seconds = float((text or "0").replace(",", ""))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _whole(text: str | None, otherwise: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return otherwise
