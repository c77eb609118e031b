"""``windtunnel session`` in a real pseudo-terminal, and from a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

COMMAND = [sys.executable, "-m", "windtunnel", "session"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[pexpect.spawn]:
    environment = {
        **os.environ,
        "TERM": "xterm",
        "XDG_STATE_HOME": str(tmp_path),
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }
    child = pexpect.spawn(
        COMMAND[0],
        COMMAND[1:],
        env=environment,
        encoding="utf-8",
        timeout=300,
        dimensions=(40, 160),
    )
    child.expect("monty>")
    yield child
    child.close(force=True)


def enter(child: pexpect.spawn, line: str) -> None:
    child.send(line + "\r")


def test_code_runs_at_the_prompt_in_several_lines(terminal: pexpect.spawn) -> None:
    enter(terminal, "def twice(x):")
    terminal.expect_exact("...")
    enter(terminal, "return x * 2")  # indented by the prompt
    terminal.expect_exact("...")
    enter(terminal, "")  # an empty line ends the block
    terminal.expect_exact("monty>")
    enter(terminal, "twice(21)")
    terminal.expect("42")
    enter(terminal, "1 / 0")
    terminal.expect("ZeroDivisionError")
    terminal.expect_exact("monty>")
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0


def test_a_grant_asks_first(terminal: pexpect.spawn, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the text")
    enter(terminal, f".grant fs.read {tmp_path}/**")
    terminal.expect(r"grant fs.read.* to this session .*\[y/N\]")
    enter(terminal, "y")
    terminal.expect("granted fs.read")
    enter(terminal, f"read_file('{tmp_path}/a.txt')")
    terminal.expect("the text'")


def test_control_c_ends_what_runs_and_the_session_serves_on(terminal: pexpect.spawn) -> None:
    enter(terminal, "while True: pass")
    enter(terminal, "")
    terminal.expect("running … .* s \\(Ctrl-C ends it\\)")
    terminal.sendintr()
    terminal.expect("interrupted after")
    enter(terminal, "40 + 2")
    terminal.expect("42")
    terminal.expect_exact("monty>")
    terminal.send("half a line")
    terminal.expect_exact("line")
    terminal.sendintr()
    terminal.expect_exact("monty>")
    enter(terminal, "'ag' + 'ain'")
    terminal.expect("'again'")


def test_names_are_completed_and_lines_remembered(terminal: pexpect.spawn, tmp_path: Path) -> None:
    enter(terminal, "remarkable = 7 * 6; 'read' + 'y'")
    terminal.expect("'ready'")
    terminal.expect_exact("monty>")
    terminal.send("remark\t")
    terminal.expect_exact("able")  # what Tab added
    enter(terminal, " + 1")
    terminal.expect("43")
    assert "remarkable = 7 * 6" in (tmp_path / "windtunnel" / "session_history").read_text()


def piped(lines: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options], input=lines, capture_output=True, text=True, timeout=300, check=False
    )


def test_lines_from_a_pipe_are_a_script_with_a_failing_exit_code(tmp_path: Path) -> None:
    done = piped("x = 1\ndef f():\n    return x + 1\nf()\n.grant fs.read\n1/0\n")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "2"
    assert "nobody is there to answer" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert piped("1 + 1\n.exit\n1/0\n").returncode == 0


def test_a_grant_on_the_command_line_needs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    code = f"read_file('{tmp_path}/a.txt')"
    done = piped("", "-c", code, "--grant", f"fs.read {tmp_path}/**", "--timeout", "20")
    assert (done.returncode, done.stdout) == (0, "'x'\n")
    assert piped("", "-c", code).returncode == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--engine", "mony"], "monty"),
        (["--functions", "no_such_module"], "cannot import --functions no_such_module"),
        (["--functions", "json"], "has no host function"),
        (["--grant", "fs.read uses=x"], "uses of a grant is a number"),
    ],
)
def test_a_wrong_option_is_one_clear_error(words: list[str], says: str) -> None:
    done = piped("", *words)
    assert done.returncode == 4
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_host_functions_of_a_module_take_the_place_of_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(
        "from windtunnel.sessions import host_function\n"
        "@host_function(needs='add')\n"
        "def add(a: int, b: int) -> int:\n"
        "    'The sum.'\n"
        "    return a + b\n"
    )
    done = subprocess.run(
        [*COMMAND, "--functions", "tools", "--grant", "add"],
        input="add(2, 3)\n.help\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5\n")
    assert "The sum." in done.stdout
    assert "read_file" not in done.stdout
