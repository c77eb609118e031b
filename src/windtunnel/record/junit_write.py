"""A recorded run as JUnit XML, in the shape pytest writes and CI systems read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable

from windtunnel.core import Outcome
from windtunnel.record.protocol import OutcomeRow, RunRow

# Characters that XML 1.0 cannot hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_FAILURES = (Outcome.FAILED,)
_ERRORS = (Outcome.ERROR, Outcome.CRASHED, Outcome.TIMEOUT)
_SKIPS = (Outcome.SKIPPED, Outcome.XFAILED)


def junit_xml(run: RunRow, outcomes: Iterable[OutcomeRow]) -> str:
    """The run's deciding outcomes as a JUnit XML document.

    Facts that JUnit has no place for are properties: of the suite ``wt_run_id``, ``wt_commit``,
    ``wt_tree``, ``wt_environment`` and so on, of a test ``wt_outcome``, ``wt_attempts``,
    ``wt_worker`` …, which :func:`windtunnel.record.junit_read.junit_runs` reads back.
    """
    attempts: dict[str, int] = {}
    finals: list[OutcomeRow] = []
    for row in outcomes:
        attempts[row.nodeid] = max(attempts.get(row.nodeid, 0), row.attempt)
        if row.final:
            finals.append(row)
    suites = ET.Element("testsuites", name="pytest tests")
    suite = ET.SubElement(
        suites,
        "testsuite",
        name="pytest",
        errors=str(_count(finals, _ERRORS)),
        failures=str(_count(finals, _FAILURES)),
        skipped=str(_count(finals, _SKIPS)),
        tests=str(len(finals)),
        time=f"{run.duration_s or sum(row.duration_s for row in finals):.3f}",
        timestamp=_timestamp(run.started),
    )
    _properties(
        suite,
        [
            ("wt_run_id", run.run_id),
            ("wt_argv", run.argv),
            ("wt_root", run.root),
            ("wt_commit", run.commit),
            ("wt_tree", run.tree),
            ("wt_environment", run.environment),
            ("wt_environment_text", run.environment_text),
            ("wt_isolation", run.isolation),
            ("wt_world", run.world),
            ("wt_workers", run.workers),
            ("wt_seed", run.seed),
            ("wt_ci", run.ci),
        ],
    )
    for row in finals:
        _test_case(suite, row, attempts[row.nodeid])
    ET.indent(suites)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"
    )


def junit_names(nodeid: str) -> tuple[str, str]:
    """``classname`` and ``name`` under which pytest reports that test.

    >>> junit_names("tests/test_a.py::TestB::test_c[1::2]")
    ('tests.test_a.TestB', 'test_c[1::2]')
    """
    plain, bracket, parameters = nodeid.partition("[")
    path, *names = plain.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    if not names:
        return "", nodeid
    return ".".join([module, *names[:-1]]), names[-1] + bracket + parameters


def _test_case(suite: ET.Element, row: OutcomeRow, attempts: int) -> None:
    classname, name = junit_names(row.nodeid)
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_legal(classname),
        name=_legal(name),
        time=f"{row.duration_s:.6f}",
    )
    _properties(
        case,
        [
            ("wt_nodeid", row.nodeid),
            ("wt_outcome", row.outcome.value),
            ("wt_attempts", attempts),
            ("wt_worker", row.worker),
            ("wt_isolation", row.isolation),
            ("wt_seed", row.seed),
            ("wt_quarantined", "true" if row.quarantined else ""),
            ("wt_replay", row.replay),
        ],
    )
    message = _legal(row.message)
    if row.outcome in _FAILURES:
        ET.SubElement(case, "failure", message=message).text = message
    elif row.outcome in _ERRORS:
        said = message or f"{row.outcome.value} in {row.phase or 'call'}"
        ET.SubElement(case, "error", message=said).text = said
    elif row.outcome in _SKIPS:
        kind = "pytest.xfail" if row.outcome is Outcome.XFAILED else "pytest.skip"
        ET.SubElement(case, "skipped", type=kind, message=message)
    if row.output:
        ET.SubElement(case, "system-out").text = _legal(row.output)


def _properties(parent: ET.Element, pairs: list[tuple[str, object]]) -> None:
    given = [(name, str(value)) for name, value in pairs if value not in ("", None)]
    if given:
        properties = ET.SubElement(parent, "properties")
        for name, value in given:
            ET.SubElement(properties, "property", name=name, value=_legal(value))


def _count(rows: list[OutcomeRow], outcomes: tuple[Outcome, ...]) -> int:
    return sum(row.outcome in outcomes for row in rows)


def _timestamp(seconds: float) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def _legal(text: str) -> str:
    return _ILLEGAL.sub(lambda match: f"#x{ord(match.group()):02X}", text)
