"""The same suite, side by side: it collides in plain parallel and passes under isolation."""

from __future__ import annotations

import os
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

SUITE = """
import os, socket, time
from pathlib import Path
import pytest

MEET = Path(".windtunnel/meet")  # written through: where the two see each other

def together(word, turn):
    MEET.mkdir(parents=True, exist_ok=True)
    (MEET / f"{word}-{turn}").touch()
    deadline = time.monotonic() + 30
    while len(list(MEET.glob(f"{word}-*"))) < 2:
        assert time.monotonic() < deadline, f"the other one never came to {word}"
        time.sleep(0.01)

def claim(what):
    if what == "port":
        server = socket.socket()
        server.bind(("127.0.0.1", 28119))
        server.listen()
        return server.close
    places = {"cwd": Path("state"), "home": Path.home() / ".state", "tmp": Path("/tmp/wt-state")}
    places[what].open("x").close()
    return places[what].unlink

def test_claims():
    turn = Path(__file__).stem
    undo, failed = [], []
    together("begun", turn)
    for what in ("cwd", "home", "tmp", "port"):
        try:
            undo.append(claim(what))
        except OSError:
            failed.append(what)
    together("done", turn)
    for each in undo:
        each()
    assert not failed, f"claimed in vain: {failed}"

@pytest.mark.parametrize("turn", range(2))
def test_variable(turn):
    assert "FLEET" not in os.environ
    os.environ["FLEET"] = "up"
"""


# A file a worker, so that the two tests that claim are side by side.
@pytest.mark.parametrize(
    "workers",
    [("-n2", "--dist=loadfile"), ("--wt-workers=2", "--wt-dist=loadfile")],
    ids=["xdist", "ours"],
)
def test_it_fails_without_isolation_and_passes_with_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, str]
) -> None:
    ours = ("PYTEST_X", "PYTEST_C", "COV_", "CI")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)
    pytester.makepyfile(test_one=SUITE, test_two=SUITE)
    plain = pytester.runpytest_subprocess(*workers, "-p", "no:asyncio", "-p", "no:randomly")
    assert plain.parseoutcomes()["failed"] >= 3
    for what in ("cwd", "home", "tmp", "port"):
        plain.stdout.fnmatch_lines([f"*claimed in vain:*{what}*"])
    plain.stdout.fnmatch_lines(["*'FLEET' not in *"])
    for meeting in (pytester.path / ".windtunnel/meet").iterdir():
        meeting.unlink()
    isolated = pytester.runpytest_subprocess(
        *workers, "--wt-isolation=env,namespace,net", "-p", "no:asyncio", "-p", "no:randomly"
    )
    isolated.assert_outcomes(passed=6)
