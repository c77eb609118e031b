"""Isolation ``env``: Prometheus's default registry and metrics are fresh for each test."""

from __future__ import annotations

import pytest

pytest.importorskip("prometheus_client", reason="missing tool: prometheus_client")

APP = """
from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary
REQUESTS = Counter("requests", "r", ["path"])
BOUND = REQUESTS.labels("bound")
TOTAL = Counter("total", "t")
DEPTH = Gauge("depth", "d")
SIZE = Histogram("size", "s", buckets=(1, 10))
TIME = Summary("time", "t")
BUILD = Info("build", "b")
STATE = Enum("state", "s", states=["up", "down"])
BUILD.info({"version": "1"})
TOTAL.inc(5)
"""

BASE = """
    import os, subprocess, sys
    import pytest, app
    from prometheus_client import REGISTRY, Counter, Gauge
    value = REGISTRY.get_sample_value
"""


@pytest.fixture
def run(pytester: pytest.Pytester):
    def go(text: str, *args: str, base: str = BASE) -> pytest.RunResult:
        pytester.makepyfile(app=APP)
        pytester.makepyfile(test_it=base + text)
        return pytester.runpytest_subprocess("-p", "no:randomly", "--wt-isolation=env", *args)

    return go


def test_values_begin_at_zero_in_each_test_and_are_put_back_after_the_last(run) -> None:
    result = run("""
    @pytest.mark.parametrize("turn", range(3))
    def test_turn(turn):
        assert value("total_total") == 0 and value("depth") == 0
        assert value("size_count") == 0 and value("size_bucket", {"le": "10.0"}) == 0
        assert value("time_count") == 0 and value("build_info", {"version": "1"}) is None
        assert value("requests_total", {"path": "bound"}) == 0
        assert value("requests_total", {"path": "other"}) is None
        assert value("state", {"state": "up"}) == 1
        app.TOTAL.inc(2); app.DEPTH.set(7); app.SIZE.observe(3); app.TIME.observe(1)
        app.BUILD.info({"version": "2"}); app.BOUND.inc(); app.REQUESTS.labels("other").inc()
        app.STATE.state("down")
        assert value("total_total") == 2 and value("requests_total", {"path": "bound"}) == 1

    @pytest.fixture(scope="module", autouse=True)
    def worker():
        yield
        assert value("total_total") == 5 and value("build_info", {"version": "1"}) == 1
        assert value("requests_total", {"path": "other"}) is None
    """)
    result.assert_outcomes(passed=3)


def test_what_a_test_registers_is_unregistered_after_it(run) -> None:
    result = run("""
    @pytest.mark.parametrize("turn", range(2))
    def test_turn(turn):
        Counter("of_the_test", "a duplicate raises")
        REGISTRY.unregister(app.DEPTH)
        Gauge("depth", "another of that name")
    """)
    result.assert_outcomes(passed=2)


def test_a_wider_fixtures_metric_stays_and_so_does_that_of_a_module_imported_in_a_test(
    run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(late="from prometheus_client import Counter\nLATE = Counter('late', 'l')\n")
    result = run("""
    @pytest.fixture(scope="module")
    def metric():
        yield Counter("of_the_fixture", "f")

    @pytest.mark.parametrize("turn", range(2))
    def test_turn(turn, metric):
        import late
        assert value("of_the_fixture_total") == 0 and value("late_total") == 0
        metric.inc(); late.LATE.inc()
        assert value("of_the_fixture_total") == 1 and value("late_total") == 1
    """)
    result.assert_outcomes(passed=2)


def test_the_files_of_several_processes_are_fresh_too(
    run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(pytester.mkdir("metrics")))
    result = run("""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    def total():
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return registry.get_sample_value("total_total")

    @pytest.mark.parametrize("turn", range(2))
    def test_turn(turn):
        assert total() is None
        app.TOTAL.inc(2)
        child = "import app; app.TOTAL.inc(3)"
        subprocess.run([sys.executable, "-c", child], check=True)
        # The application's own 5 at import, in the child, and its 3; this process's 2.
        assert total() == 2 + 5 + 3

    @pytest.fixture(scope="module", autouse=True)
    def worker():
        yield
        assert total() == 5
    """)
    result.assert_outcomes(passed=2)


def test_nothing_is_imported_for_it(run) -> None:
    result = run(
        """
    def test_it():
        assert not [name for name in sys.modules if name.startswith("prometheus_client")]
    """,
        base="""
    import sys
    """,
    )
    result.assert_outcomes(passed=1)
