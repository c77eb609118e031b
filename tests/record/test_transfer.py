"""Runs out of the record and into another: JSON lines, JUnit XML, merging."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import junitparser
import pytest

from windtunnel.core import (
    Resource,
    RunFinished,
    Sample,
    TestStarted,
    UsageError,
    Violation,
)
from windtunnel.record import Record, Spool, open_record
from windtunnel.record.exchange import export_lines, run_events
from windtunnel.record.junit_write import junit_xml
from windtunnel.record.merge import Merged
from windtunnel.record.transfer import import_file


@pytest.fixture
def other_path(tmp_path: Path) -> Path:
    return tmp_path / "ci" / "record.db"


def _fill(path: Path, started, finished, first: int, count: int, at: float = 1000.0) -> None:
    with open_record(path) as record:
        for number in range(first, first + count):
            record.ingest(
                started(f"run-{number}", at + number, tree=f"tree-{number}"),
                [
                    finished("t.py::a", "failed" if number % 3 == 0 else "passed", message="m"),
                    finished("t.py::b", "skipped"),
                    Sample(time=1.0, name="x", value=float(number)),
                    RunFinished(time=at + number + 0.5, exit_code=0, duration_s=0.5),
                ],
            )


def _everything(record: Record) -> list[object]:
    return [list(run_events(record, run)) for run in record.runs()]


def test_merging_adds_the_runs_of_the_other_in_the_order_of_time(
    record_path: Path, other_path: Path, started, finished
) -> None:
    _fill(record_path, started, finished, 0, 3)
    _fill(record_path, started, finished, 8, 2)
    _fill(other_path, started, finished, 3, 5)
    with open_record(record_path) as record:
        assert record.merge(other_path) == Merged(runs=5, outcomes=10, known=0)
        assert [run.run_id for run in record.runs()] == [f"run-{n}" for n in range(9, -1, -1)]
        assert [run.number for run in record.runs()] == list(range(10, 0, -1))
        assert {row.nodeid: row.strip for row in record.recent()} == {
            "t.py::a": "F..F..F..F",
            "t.py::b": "s" * 10,
        }
        rows = record.history(["t.py::a"])["t.py::a"]
        assert [row.tree for row in rows] == [f"tree-{n}" for n in range(10)]
        assert [row.value for row in record.samples("x")] == [float(n) for n in range(10)]


def test_merging_again_and_merging_overlapping_records_doubles_nothing(
    record_path: Path, other_path: Path, started, finished
) -> None:
    _fill(record_path, started, finished, 0, 4)
    _fill(other_path, started, finished, 2, 4)
    with open_record(record_path) as record:
        assert record.merge(other_path) == Merged(runs=2, outcomes=4, known=2)
        before, strips = _everything(record), record.recent()
        assert record.merge(other_path) == Merged(runs=0, outcomes=0, known=4)
        assert (_everything(record), record.recent()) == (before, strips)


def test_merging_completes_a_run_of_which_only_a_part_was_known(
    record_path: Path, other_path: Path, started, finished
) -> None:
    with open_record(record_path) as record:
        record.ingest(started(), [finished("t.py::a"), TestStarted(nodeid="t.py::b", worker="gw0")])
    with open_record(other_path) as other:
        other.ingest(
            started(),
            [
                finished("t.py::a"),
                finished("t.py::b", "failed"),
                RunFinished(exit_code=1, duration_s=1.0, collected=2),
            ],
        )
    with open_record(record_path) as record:
        assert record.merge(other_path) == Merged(runs=0, outcomes=1, known=1)
        assert record.runs()[0].exit_code == 1
        assert record.unfinished(1) == []
        assert {row.nodeid: row.strip for row in record.recent()} == {
            "t.py::a": ".",
            "t.py::b": "F",
        }


def test_a_merged_record_brings_what_is_in_its_spools(
    record_path: Path, other_path: Path, finished
) -> None:
    spool = Spool.open(other_path.parent, "run-1")
    spool.sink(finished())
    spool.close()
    with open_record(record_path) as record:
        assert record.merge(other_path).outcomes == 1


def test_an_export_is_standard_json_and_comes_back_as_it_was(
    record_path: Path, other_path: Path, tmp_path: Path, started, finished
) -> None:
    with open_record(record_path) as record:
        record.ingest(
            started(seed=2**64 - 1, argv="pytest -k 'ü'"),
            [
                finished("t.py::a[\x00\u2028]", "failed", attempt=1, final=False, output="o\n\t"),
                finished("t.py::a[\x00\u2028]", "passed", attempt=2, seed=2**63),
                TestStarted(time=7.0, nodeid="t.py::gone", worker="gw1", order=4),
                Sample(time=1.0, name="nan", value=math.nan),
                Sample(time=2.0, name="inf", value=-math.inf, failed=True),
                Violation(time=3.0, rule="leak", subject="x", fails=True),
                Resource(time=4.0, action="leaked", resource="port", name="80"),
                RunFinished(time=5.0, exit_code=1, duration_s=4.0, collected=2),
            ],
        )
        lines = list(export_lines(record, record.runs()))
        before = repr(_everything(record))

    def no_constant(text: str) -> None:
        raise AssertionError(f"{text} is no standard JSON")

    documents = [json.loads(line, parse_constant=no_constant) for line in lines]
    assert documents[0] == {"windtunnel_export": 1}
    assert {document["run_id"] for document in documents[1:]} == {"run-1"}
    file = tmp_path / "export.jsonl"
    file.write_text("\n".join(lines))
    with open_record(other_path) as other:
        assert import_file(other, file) == Merged(runs=1, outcomes=2, known=0)
        assert repr(_everything(other)) == before
        assert import_file(other, file) == Merged(runs=0, outcomes=0, known=1)
        assert repr(_everything(other)) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event":"sample"', "bad.jsonl:3: it is no JSON"),
        ("[1]", "bad.jsonl:3: it is no JSON object"),
        ('{"event":"sample","name":"x","value":1}', "bad.jsonl:3"),
        ('{"event":"sample","run_id":"r","time":1,"name":"x"}', "sample has no value"),
        ('{"event":"sample","run_id":"r","time":1,"name":"x","value":"1"}', "value is no float"),
        ('{"event":"sample","run_id":"r","time":1,"name":1,"value":1}', "name is no str"),
    ],
)
def test_a_bad_line_is_one_error_with_its_place_and_nothing_of_the_file_is_entered(
    record_path: Path, tmp_path: Path, line: str, said: str
) -> None:
    good = '{"event":"sample","run_id":"r","time":1,"name":"x","value":1}'
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join(['{"windtunnel_export":1}', good, line]))
    with open_record(record_path) as record:
        with pytest.raises(UsageError, match=said.replace(".", r"\.")):
            import_file(record, bad)
        assert record.runs() == []


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\xff\xfe\x00", b'{"windtunnel_export":2}\n', b"<html/>", b"<a"]
)
def test_a_file_of_no_known_kind_is_one_error(
    record_path: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with open_record(record_path) as record:
        with pytest.raises(UsageError, match="cannot import"):
            import_file(record, path)
        assert record.runs() == []


def test_unknown_kinds_and_names_of_a_later_version_are_skipped(
    record_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "later.jsonl"
    path.write_text(
        '{"windtunnel_export":1}\n'
        '{"event":"of_tomorrow","run_id":"r"}\n'
        '{"event":"sample","run_id":"r","time":1,"name":"x","value":1,"of_tomorrow":2}\n'
    )
    with open_record(record_path) as record:
        import_file(record, path)
        assert [row.value for row in record.samples()] == [1.0]


_SUITE = """
import pytest, unittest
def test_passes(): pass
@pytest.mark.parametrize("x", ["a.b", "c::d", "[e]"])
def test_parameters(x): assert x != "c::d"
class TestClass:
    def test_fails(self): assert 1 == 2, "no"
    class TestInner:
        def test_deep(self): pass
class Old(unittest.TestCase):
    def test_old(self): self.skipTest("why")
@pytest.mark.xfail
def test_xfails(): assert 0
@pytest.fixture
def broken(): raise RuntimeError("broken")
def test_error(broken): pass
@pytest.fixture
def leaves(): yield; raise RuntimeError("teardown")
def test_teardown_error(leaves): print("output of it")
"""

_EXPECTED = {
    "test_passes": ("passed", ""),
    "test_parameters[a.b]": ("passed", ""),
    "test_parameters[c::d]": ("failed", "call"),
    "test_parameters[[e]]": ("passed", ""),
    "TestClass::test_fails": ("failed", "call"),
    "TestClass::TestInner::test_deep": ("passed", ""),
    "Old::test_old": ("skipped", ""),
    "test_xfails": ("xfailed", ""),
    "test_error": ("error", "setup"),
    "test_teardown_error": ("error", "teardown"),
}


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_pytests_own_junit_xml_gives_the_nodeids_and_outcomes_pytest_gave(
    record_path: Path, tmp_path: Path, family: str
) -> None:
    suite = tmp_path / "pkg" / "tests" / "test_suite.py"
    suite.parent.mkdir(parents=True)
    suite.write_text(_SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    xml = tmp_path / "junit.xml"
    options = ["-p", "no:windtunnel", "-o", f"junit_family={family}", f"--junitxml={xml}"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, str(suite)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    with open_record(record_path) as record:
        assert import_file(record, xml).outcomes == len(_EXPECTED)
        rows = {row.nodeid: (row.outcome.value, row.phase) for row in record.outcomes(1)}
        assert rows == {f"pkg/tests/test_suite.py::{n}": how for n, how in _EXPECTED.items()}
        run = record.runs()[0]
        assert run.exit_code == 1
        assert abs(run.started - xml.stat().st_mtime) < 60
        assert import_file(record, xml) == Merged(runs=0, outcomes=0, known=1)


_SUREFIRE = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.acme.CartTest" time="1,234.5" tests="4" timestamp="2024-05-01T10:00:00">
  <testcase name="adds" classname="com.acme.CartTest" time="0.25"/>
  <testcase name="flaky" classname="com.acme.CartTest" time="0.5">
    <flakyFailure message="first" type="E">trace</flakyFailure>
    <flakyError message="second" type="E">trace</flakyError>
  </testcase>
  <testcase name="broken" classname="com.acme.CartTest" time="0.5">
    <failure message="one&#10;more" type="E">trace</failure>
    <rerunFailure message="two" type="E">trace</rerunFailure>
  </testcase>
  <testcase name="later" classname="com.acme.CartTest"><skipped/></testcase>
</testsuite>
"""


def test_surefires_reruns_are_attempts(record_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "TEST-cart.xml"
    path.write_text(_SUREFIRE)
    with open_record(record_path) as record:
        import_file(record, path)
        found: dict[str, list[tuple[str, bool]]] = {}
        for row in record.outcomes(1):
            found.setdefault(row.nodeid, []).append((row.outcome.value, row.final))
        assert found == {
            "com.acme.CartTest::adds": [("passed", True)],
            "com.acme.CartTest::flaky": [("failed", False), ("error", False), ("passed", True)],
            "com.acme.CartTest::broken": [("failed", False), ("failed", True)],
            "com.acme.CartTest::later": [("skipped", True)],
        }
        assert record.runs()[0].started == 1714557600.0
        assert (
            record.history(["com.acme.CartTest::broken"])["com.acme.CartTest::broken"][0].message
            == "one"
        )


def test_a_tests_known_name_wins_over_what_its_classname_looks_like(
    record_path: Path, tmp_path: Path, started, finished
) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(
        '<testsuites><testsuite name="s"><testcase classname="checks.area.Shape" name="round"/>'
        "</testsuite></testsuites>"
    )
    with open_record(record_path) as record:
        record.ingest(started(), [finished("checks/area.py::Shape::round")])
        import_file(record, path)
        (row,) = record.recent()
        assert (row.nodeid, row.strip) == ("checks/area.py::Shape::round", "..")


def test_an_exported_junit_xml_is_valid_and_comes_back(
    record_path: Path, other_path: Path, tmp_path: Path, started, finished
) -> None:
    with open_record(record_path) as record:
        number = record.ingest(
            started(commit="c1", tree="t1", environment="e1", seed=7, workers=2),
            [
                finished("t/test_a.py::T::a[<&\x1b>]", "failed", message='<"\x00&', output="\x07o"),
                finished("t/test_a.py::b", "failed", attempt=1, final=False),
                finished("t/test_a.py::b", "passed", attempt=2, call_s=0.5),
                finished("t/test_a.py::c", "timeout"),
                finished("t/test_a.py::d", "skipped"),
                finished("t/test_a.py::e", "xfailed"),
                finished("t/test_a.py::f", "xpassed"),
                finished("t/test_a.py::g", "crashed", quarantined=True),
                finished("t/test_a.py::h", "error", phase="setup"),
            ],
        )
        text = junit_xml(record.runs()[0], record.outcomes(number))
    (suite,) = junitparser.JUnitXml.fromstring(text.encode())
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (8, 1, 3, 2)
    assert len(list(suite)) == 8
    path = tmp_path / "out.xml"
    path.write_text(text, encoding="utf-8")
    with open_record(other_path) as other:
        import_file(other, path)
        run = other.runs()[0]
        assert (run.run_id, run.commit, run.tree, run.environment) == ("run-1", "c1", "t1", "e1")
        assert (run.seed, run.workers) == (7, 2)
        assert {row.nodeid.split("::")[-1]: row.outcome.value for row in other.outcomes(1)} == {
            "a[<&#x1B>]": "failed",
            "b": "passed",
            "c": "timeout",
            "d": "skipped",
            "e": "xfailed",
            "f": "xpassed",
            "g": "crashed",
            "h": "error",
        }
        # Known already by its run_id: the JUnit XML of a run adds nothing to the run itself.
    with open_record(record_path) as record:
        assert import_file(record, path).runs == 0
