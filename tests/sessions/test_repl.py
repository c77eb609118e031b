"""The prompt's pieces: what is whole, what a grant means, and the shell on a real engine."""

from __future__ import annotations

import http.server
import json
import stat
import threading

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import DummyInput
from prompt_toolkit.output import DummyOutput

from windtunnel import sessions
from windtunnel.core import UsageError
from windtunnel.sessions.repl.entry import is_whole, names_bound, split_options
from windtunnel.sessions.repl.functions import FUNCTIONS
from windtunnel.sessions.repl.granting import parse_grant
from windtunnel.sessions.repl.screen import printable
from windtunnel.sessions.repl.shell import Shell
from windtunnel.sessions.repl.terminal import Terminal


class Paper:
    """A screen of which a test reads what was said, with answers given beforehand."""

    def __init__(self, *answers: bool) -> None:
        self.text = ""
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._answers = list(answers)

    def say(self, text, style=""):
        self.text += text + "\n"
        if style == "error":
            self.errors.append(text)

    def output(self, text):
        self.text += text

    async def confirm(self, question):
        self.asked.append(question)
        return self._answers.pop(0)

    def progress(self, text):
        pass


async def typed(paper: Paper, *entries: str, engine: str = "monty") -> Shell:
    async with sessions.open(engine, functions=FUNCTIONS) as session:
        shell = Shell(session, engine=engine, functions=FUNCTIONS, screen=paper)
        for entry in entries:
            await shell.enter(entry)
        return shell


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("1 + 1", True),
        ("f(", False),
        ("if x:", False),
        ("def f():\n    return 1", False),
        ("def f():\n    return 1\n", True),
        ("def f():\n    return 1\n    ", True),
        ("x = (1,\n     2)", True),
        ("1 +* 2", True),
        (".grant fs.read", True),
        ("s = '''a", False),
        ("a = 1; b = 2", True),
        ("\x00", True),
    ],
)
def test_enter_runs_what_is_whole_and_goes_on_with_what_is_not(text: str, whole: bool) -> None:
    assert is_whole(text) is whole


def test_names_that_code_binds_can_be_completed() -> None:
    code = "import os.path as p\nfor i in x:\n    t = i\nclass C: pass\nwith a as (b, c): d = 1"
    assert names_bound(code) == {"p", "i", "t", "C", "b", "c", "d"}
    assert names_bound("1 +") == set()


def test_options_stand_after_the_code() -> None:
    assert split_options("f('--iterations 3') --concurrency 4 --iterations=20") == (
        "f('--iterations 3')",
        {"concurrency": "4", "iterations": "20"},
    )


def test_a_grant_is_a_pattern_and_bounds() -> None:
    token = parse_grant("fs.read '/my data/**' uses=2 seconds=5 operations=read,list", 100.0)
    (bounds,) = token.constraints
    assert (bounds.resources, bounds.uses, bounds.expires_at) == (("/my data/**",), 2, 105.0)
    assert bounds.operations == ("read", "list")
    assert bounds.resolve_symlinks
    (bounds,) = parse_grant("net.connect *.example.com ports=443", 0.0).constraints
    assert (bounds.hosts, bounds.ports) == (("*.example.com",), ((443, 443),))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names a capability"),
        ("fs.read uses=many", "uses of a grant is a number"),
        ("fs.read time=3", "no bound 'time'"),
        ("fs.read '/a", "cannot read the grant"),
    ],
)
def test_a_grant_that_cannot_be_meant_is_one_clear_error(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_grant(text, 0.0)


def test_what_would_command_the_terminal_is_shown_and_not_obeyed() -> None:
    assert printable("a\x1b]0;t\x07\r\x9b\u202e\nb\té") == "a\\x1b]0;t\\x07\\r\\x9b\\u202e\nb\té"


@pytest.mark.asyncio
async def test_a_grant_asks_and_is_enforced_and_revoked(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("inside")
    (tmp_path / "link").symlink_to("/etc/hostname")
    read = f"read_file('{tmp_path}/a.txt')"
    paper = Paper(False, True)
    shell = await typed(
        paper,
        read,  # nothing is granted yet
        f".grant fs.read {tmp_path}/**",  # no
        read,
        f".grant fs.read {tmp_path}/**",  # yes
        read,
        f"read_file('{tmp_path}/link')",  # leads elsewhere
        ".caps",
        ".revoke fs.read",
        read,
        ".violations",
    )
    question = f"grant fs.read(resources={tmp_path}/**, resolve_symlinks=True) to this session"
    assert paper.asked == [f"{question} (opens read_file, list_dir)?"] * 2
    assert paper.text.count("'inside'") == 1
    assert sum(error.startswith("CapabilityDenied") for error in paper.errors) == 4
    assert "used once" in paper.text
    assert len(shell.session.capabilities.violations) == 4
    assert "   4  fs.read read" in paper.text


@pytest.mark.asyncio
async def test_async_and_callbacks_see_the_sessions_names() -> None:
    paper = Paper()
    shell = await typed(
        paper,
        "x = 40",
        "def add(a, b):\n    return a + b\n",
        ".async x + 2",
        ".callback add 'a\\n', \"b'\"",
        ".callback add 1",
        ".callback 1x",
        ".callback add f()",
    )
    assert "42\ndone in " in paper.text
    assert repr("a\nb'") in paper.text
    assert paper.errors[0].startswith("TypeError")
    assert "made of a function's name" in paper.errors[1]
    assert "literals" in paper.errors[2]
    assert {"x", "add", "read_file", ".grant"} <= set(shell.words)


@pytest.mark.asyncio
async def test_a_saved_session_is_loaded_with_its_names_and_what_is_left_of_its_grants(
    tmp_path,
) -> None:
    file = tmp_path / "s.json"
    grant = f".grant fs.read {tmp_path}/** uses=2"
    paper = Paper(True)
    await typed(paper, "x = 'é\\n'", "1/0", grant, f"list_dir('{tmp_path}')", f".save {file}")
    assert "saved 2 entries" in paper.text
    assert json.loads(file.read_text())["grants"][0]["constraints"][0]["uses"] == 1
    again = Paper(True)
    shell = await typed(again, f".load {file}", "x", f"list_dir('{tmp_path}')")
    assert repr("é\n") in again.text
    assert again.errors == [again.errors[0]]  # the last use was the loaded code's
    assert "used up" in again.errors[0]
    assert shell.session.history[0].code == "x = 'é\\n'"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (".load /nowhere.json", "cannot load"),
        (".save /nowhere/x", "cannot save"),
        (".load", "a file is needed"),
        (".revoke fs.read", "nothing to revoke"),
        (".hsitory", "did you mean .history?"),
        (".qqqq", "there is no command .qqqq (.help lists them)"),
        (".benchmark", "no code to measure"),
        (".benchmark 1 --iterations none", "--iterations is a whole number"),
        (".async", "no code to run"),
    ],
)
async def test_a_command_that_cannot_be_meant_is_one_clear_error(entry: str, says: str) -> None:
    paper = Paper()
    await typed(paper, entry)
    (error,) = paper.errors
    assert says in error


@pytest.mark.asyncio
async def test_a_benchmark_counts_failures_and_reset_forgets() -> None:
    paper = Paper()
    shell = await typed(
        paper,
        "n = 1",
        ".benchmark n + 1 --iterations 5 --concurrency 2 --warmup 1",
        ".benchmark 1 / 0 --iterations 5 --warmup 0",
        ".reset",
        "n",
        ".history",
    )
    assert paper.errors[0] == "5 of 5 runs failed"
    assert paper.errors[1].startswith("NameError")
    assert len(shell.session.history) == 1
    assert shell.failures == 2


def test_a_redirect_leads_nowhere() -> None:
    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302 if self.path == "/away" else 200)
            self.send_header("Location", "/secret")
            self.end_headers()
            self.wfile.write("héllo".encode())

        def log_message(self, format, *args):
            pass

    here = sessions.CapabilityToken(
        "net.connect", sessions.CapabilityConstraint(hosts="127.0.0.1", resources="/*")
    )
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server,
        sessions.open("monty", functions=FUNCTIONS, capabilities=[here]) as session,
    ):
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        results = [session.run_sync(f"fetch('{url}{path}')") for path in ("/a", "/away")]
        results.append(session.run_sync("fetch('file:///etc/passwd')"))
        server.shutdown()
    assert results[0].value == "héllo"
    assert (results[1].error_type, results[2].error_type) == ("HTTPError", "CapabilityDenied")
    assert "not followed" in results[1].error


@pytest.mark.asyncio
async def test_a_history_is_the_users_alone_and_no_more_than_said_to_be_missing(tmp_path) -> None:
    with create_app_session(input=DummyInput(), output=DummyOutput()):
        kept = tmp_path / "deep" / "history"
        Terminal("monty", list, kept)
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        (tmp_path / "file").write_text("")
        Terminal("monty", list, tmp_path / "file" / "history")
