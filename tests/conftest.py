"""What every test of the house may use, and the rule about missing tools.

A test that needs a binary asks for it through the fixture ``require_tool``. Where the binary is
missing the test skips and says so; under ``CI=true`` it fails instead, because a proof that was
skipped on the machine that decides is no proof.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import hypothesis
import pytest
from _pytest import pytester

# An example that took 200 ms because the machine did something else is no failure.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

pytest_plugins = ["pytester"]


class _Snapshot(pytester.SysModulesSnapshot):
    """What ``pytester`` takes of the modules that are loaded, and goes back to.

    It would forget whatever was loaded first while a test had it, and a later test would load
    that anew: two classes of one name, and an error that is not the one expected. The modules
    of the house and of its libraries stay.
    """

    def __init__(self, preserve: Callable[[str], bool] | None = None) -> None:
        super().__init__(lambda name: (preserve is not None and preserve(name)) or _stays(name))


def _stays(name: str) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    return file is not None and file.startswith(_LIBRARIES)


_LIBRARIES = (str(Path(__file__).parents[1] / "src"), sys.prefix, sys.base_prefix)
pytester.SysModulesSnapshot = _Snapshot  # type: ignore[misc]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what it runs in the background, and every process that a test starts and
    # interrupts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

MISSING = "missing tool:"
_ELSEWHERE = ("/usr/lib/postgresql/*/bin", "/usr/sbin", "/sbin", "/opt/homebrew/bin")


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], Path]:
    """``require_tool("redis-server")`` is the path of that binary, or a skip with its reason."""
    return find_tool


def find_tool(name: str) -> Path:
    found = shutil.which(name)
    if found:
        return Path(found)
    for pattern in _ELSEWHERE:
        for folder in sorted(Path("/").glob(pattern[1:]), reverse=True):
            if os.access(folder / name, os.X_OK):
                return folder / name
    pytest.skip(f"{MISSING} {name}; see `windtunnel doctor`")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_missing_under_ci(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_missing_under_ci(report)
    return report


def _fail_if_missing_under_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and MISSING in reason and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{reason}\nCI=true: a skip for a missing tool is a failure"


@pytest.fixture(autouse=True)
def _lean_inner_sessions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the hundreds of sessions that tests start the import of Hypothesis.

    Its plugin imports all of it at the end of every session, also where nothing uses it.
    """
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester")  # it deletes the variable
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
