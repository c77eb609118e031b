"""A test whose tool is missing skips with its reason, and fails where the verdict counts."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SUITE = """
def test_needs_it(require_tool):
    require_tool("no-such-program")

def test_has_it(require_tool):
    assert require_tool("sh").name == "sh"
"""
MODULE = 'import pytest\npytest.skip("missing tool: no-such-module", allow_module_level=True)\n'


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makepyfile(test_tools=SUITE)
    return pytester


def test_it_skips_and_says_which(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CI", raising=False)
    result = suite.runpytest_subprocess("-rs", "-p", "no:windtunnel")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*missing tool: no-such-program*"])


def test_under_ci_it_fails(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CI", "true")
    result = suite.runpytest_subprocess("-p", "no:windtunnel")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*a skip for a missing tool is a failure*"])


def test_under_ci_a_whole_module_fails_too(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CI", "true")
    suite.makepyfile(test_module=MODULE)
    result = suite.runpytest_subprocess("test_module.py", "-p", "no:windtunnel")
    result.assert_outcomes(errors=1)
