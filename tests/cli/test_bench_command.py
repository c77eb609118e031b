"""``windtunnel bench`` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from windtunnel.cli import main
from windtunnel.core import ExitCode

pytestmark = pytest.mark.once  # processes that measure; what they use is tested on each

LONG = ("--budget", "300")  # for a machine that has much else to do
QUICK = ("--iterations", "40", "--warmup", "2")
BENCHES = """
import asyncio

def bench_adds():
    print("not to be seen")
    return sum(range(100))

async def bench_waits():
    await asyncio.sleep(0)

def helper():
    raise ValueError("not today")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bench_things.py").write_text(BENCHES)
    (tmp_path / "script.py").write_text("total = sum(range(10))\nassert __name__ == '__main__'\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_measured_by_its_bench_functions(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["bench", "bench_things.py", *QUICK, "--concurrency", "2"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "bench_things.py:bench_adds: 40 calls, 2 at a time" in out
    assert "bench_things.py:bench_waits: 40 calls, 2 at a time" in out
    assert "not to be seen" not in out
    assert "helper" not in out


def test_both_forms_of_the_command_mean_the_same(folder: Path, capsys: pytest.CaptureFixture[str]):
    for form in (["bench"], ["bench", "run"]):
        assert main([*form, "script.py", *QUICK, "--json", "--no-record"]) == ExitCode.OK
        document = json.loads(capsys.readouterr().out)
        assert document["format"] == 1
        [result] = document["results"]
        assert (result["name"], result["n"], result["failures"]) == ("script.py", 40, 0)


@pytest.mark.parametrize("source", ["1 / 0", "import sys; sys.exit(3)", "raise KeyError('x')"])
def test_failing_code_is_a_failing_exit_code_with_the_failures_counted(
    source: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "bad.py").write_text(source)
    assert main(["bench", "bad.py", *QUICK]) == ExitCode.TESTS_FAILED
    assert "40 of 40 calls FAILED (100.0%)" in capsys.readouterr().out


def test_a_named_function_is_measured_alone(folder: Path, capsys: pytest.CaptureFixture[str]):
    code = main(["bench", "bench_things.py:helper", *QUICK, "--json"])
    assert code == ExitCode.TESTS_FAILED
    [result] = json.loads(capsys.readouterr().out)["results"]
    assert result["errors"] == [{"error": "ValueError: not today", "count": 40}]


def test_measurements_go_on_record_and_a_later_one_is_judged_beside_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    for _ in range(2):
        assert main(["bench", "bench_things.py:bench_adds", *QUICK]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "beside 1 earlier runs on this machine: unknown" in out
    assert main(["bench", "history"]) == ExitCode.OK
    assert "bench_things.py:bench_adds: median over 2 runs on " in capsys.readouterr().out
    assert main(["bench", "history", "--json", "--figure", "p95"]) == ExitCode.OK
    [history] = json.loads(capsys.readouterr().out)["histories"]
    assert (history["figure"], len(history["entries"])) == ("p95", 2)


def test_drawings_are_written(folder: Path):
    assert main(["bench", "script.py", *QUICK, "--svg", "out"]) == ExitCode.OK
    assert main(["bench", "history", "--svg", "out"]) == ExitCode.OK
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "script.py-histogram.svg",
        "script.py-history.svg",
        "script.py-percentiles.svg",
    ]


def test_history_knows_no_name_that_was_not_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    main(["bench", "script.py", *QUICK])
    assert main(["bench", "history", "other"]) == ExitCode.USAGE_ERROR
    err = capsys.readouterr().err
    assert "there is no measurement other on record\n  found: script.py" in err


def sized(steps: int) -> str:
    return f"def bench_adds():\n    return sum(range({steps}))\n"


def test_a_file_is_measured_on_an_engine_where_code_that_fails_is_a_failure(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "code.txt").write_text("sum([1, 2, 3])")
    assert main(["bench", "code.txt", "--engine", "monty", *QUICK]) == ExitCode.OK
    assert "code.txt on monty: 40 calls" in capsys.readouterr().out
    (folder / "bad.txt").write_text("1 / 0")
    assert main(["bench", "bad.txt", "--engine", "monty", *QUICK]) == ExitCode.TESTS_FAILED
    assert "40 x FailedResultError: ZeroDivisionError: " in capsys.readouterr().out
    assert main(["bench", "code.txt", "--engine", "steam"]) == ExitCode.USAGE_ERROR


def test_slower_is_exit_16(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "small.py").write_text(sized(20_000))
    (folder / "large.py").write_text(sized(80_000))
    assert main(["bench", "compare", "large.py", "small.py:bench_adds", "--json", *LONG]) == (
        ExitCode.GATE_FAILED
    )
    [found] = json.loads(capsys.readouterr().out)["comparisons"]
    assert (found["verdict"], found["candidate"]["failures"]) == ("slower", 0)
    assert found["low"] > 1.02


def test_what_cannot_be_told_in_the_time_given_is_no_pass(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    short = ["bench", "compare", "script.py", "script.py", "--budget", "0.1"]
    assert main(short) == ExitCode.GATE_FAILED
    assert "UNKNOWN: script.py beside script.py" in capsys.readouterr().out
    assert main([*short, "--allow-unknown"]) == ExitCode.OK


def test_a_side_that_fails_is_exit_1(folder: Path, capsys: pytest.CaptureFixture[str]):
    code = main(["bench", "compare", "bench_things.py:helper", "bench_things.py:bench_adds"])
    assert code == ExitCode.TESTS_FAILED
    assert "helper FAILED: ValueError: not today" in capsys.readouterr().out


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_a_file_is_compared_with_its_own_past_and_the_packages_of_then(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    package = folder / "src" / "adder.py"
    package.parent.mkdir()
    package.write_text("STEPS = 20_000\n")
    (folder / "bench_it.py").write_text(
        "from adder import STEPS\n\ndef bench_adds():\n    return sum(range(STEPS))\n"
    )
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    package.write_text("STEPS = 60_000\n")
    code = main(["bench", "compare", "bench_it.py", "--against", "HEAD", *LONG])
    assert code == ExitCode.GATE_FAILED
    assert "SLOWER" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.py"], "there is no file absent.py"),
        (["script.py", "--iterations", "0"], "a whole number from 1 up is wanted, not '0'"),
        (["script.py", "--warmup", "-1"], "--warmup"),
        (["compare", "script.py"], "compared with one baseline"),
        (["compare", "script.py", "script.py", "--against", "HEAD"], "compared with one baseline"),
        (["compare", "script.py", "bench_things.py"], "no function to compare"),
        (["broken.py:f"], "there is no f to measure in"),
        (["broken.py"], "cannot read"),
    ],
)
def test_a_command_that_cannot_be_meant_says_why(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "broken.py").write_text("def f(:\n")
    assert main(["bench", *words]) == ExitCode.USAGE_ERROR
    assert message in capsys.readouterr().err
