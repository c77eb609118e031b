from pathlib import Path

import made_runs
import pytest
from made_runs import NASTY, finished, made

from windtunnel.core import Outcome
from windtunnel.report.data import RunView
from windtunnel.report.github import CAP, Place, annotation_lines, command, job_summary


def unescaped(line: str) -> tuple[str, dict[str, str], str]:
    """What GitHub's runner makes of a line: it splits first, and unescapes then."""
    head, _, message = line.removeprefix("::").partition("::")
    level, _, fields = head.partition(" ")
    pairs = (field.partition("=") for field in fields.split(","))

    def plain(text: str, *codes: str) -> str:
        for code in (*codes, "%0D", "%0A", "%25"):
            text = text.replace(code, chr(int(code[1:], 16)))
        return text

    return level, {name: plain(value, "%3A", "%2C") for name, _, value in pairs}, plain(message)


@pytest.fixture
def everything(tmp_path: Path) -> RunView:
    return made(tmp_path / "record.db", made_runs.everything(), exit_code=1)


@pytest.mark.parametrize(
    "text", ["100%", "%0A", "a,b:c::d", "two\nlines", "50%, of: it", "::error::x", "a%3Ab"]
)
def test_an_annotation_arrives_as_it_was_meant(text: str):
    line = command("error", text, text, Place("a,b.py", 3))
    assert "\n" not in line
    level, fields, message = unescaped(line)
    title = text.replace("\n", "⏎")
    assert (level, fields, message) == (
        "error", {"file": "a,b.py", "line": "3", "title": title}, text
    )  # fmt: skip


def test_what_fails_the_run_is_an_error_and_what_is_excused_a_warning(everything: RunView):
    read = [unescaped(line) for line in annotation_lines(everything)]
    told = {fields["title"]: level for level, fields, _ in read}
    assert told["failed: tests/test_a.py::test_failed"] == "error"
    assert told["crashed: tests/test_a.py::test_crashed"] == "error"
    assert told["vacuous: until(ready)"] == "error"
    assert told["failed (quarantined): tests/test_a.py::test_apart"] == "warning"
    assert told["passed: tests/test_a.py::test_lucky"] == "warning"
    assert told["pollution: os.environ['X']"] == "warning"


def test_an_annotation_stands_at_the_line_that_failed(everything: RunView):
    known = {"tests/test_a.py::test_failed": Place("sub/tests/test_a.py", 12)}
    read = [unescaped(line)[1] for line in annotation_lines(everything, known)]
    (fields,) = [one for one in read if one["title"].endswith("::test_failed") and "line" in one]
    assert (fields["file"], fields["line"]) == ("sub/tests/test_a.py", "12")


def test_each_level_is_capped_and_the_last_line_says_how_many_there_are_besides(tmp_path: Path):
    many = [finished(f"t.py::test_{index}", Outcome.FAILED) for index in range(30)]
    lines = annotation_lines(made(tmp_path / "record.db", many))
    assert len(lines) == CAP
    assert "and 21 more" in lines[-1]


def test_the_job_summary_tells_outcomes_failures_and_how_to_replay(everything: RunView):
    text = job_summary(everything)
    assert text.startswith("### Windtunnel: 1 crashed, 1 timeout, 2 failed")
    assert "1 quarantined" in text
    assert "of the lower bound" in text
    assert "windtunnel run tests/test_a.py::test_failed --seed 7" in text


def test_no_name_breaks_out_of_its_cell_in_the_job_summary(tmp_path: Path):
    view = made(tmp_path / "record.db", [finished(NASTY, Outcome.FAILED)])
    text = job_summary(view)
    (row,) = [line for line in text.splitlines() if line.startswith("| <code>")]
    assert row.count("|") == 4  # the edges of three cells
    assert "<script>" not in text
    assert "\x1b" not in text


def test_a_huge_run_keeps_its_job_summary_below_githubs_limit(tmp_path: Path):
    many = [
        finished(f"t.py::test_{index}", Outcome.FAILED, message="m" * 300) for index in range(3000)
    ]
    text = job_summary(made(tmp_path / "record.db", many))
    assert "and 2,950 more" in text
    assert len(text.encode()) < 200_000
