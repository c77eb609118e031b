"""Reports that hold what cannot travel."""

from __future__ import annotations

import pytest

_CONFTEST = """
import threading, pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.lock = threading.Lock()
    report.note = "kept"
    report.user_properties.append(("lock", threading.Lock()))
    return report

def pytest_runtest_logreport(report):
    if report.when == "call" and not hasattr(report, "lock"):
        print("ARRIVED", report.outcome, report.note)
"""


@pytest.mark.parametrize("isolation", ["", "fork"])
def test_a_report_arrives_without_what_a_plugin_put_on_it_and_cannot_be_pickled(
    pytester: pytest.Pytester, windtunnel_run, isolation
) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile("def test_passes(): pass\ndef test_fails(): assert 1 == 2")
    result = windtunnel_run("-n", "1", "--isolation", isolation, "-s")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines_random(
        ["*ARRIVED passed kept*", "*ARRIVED failed kept*", "E*assert 1 == 2"]
    )
