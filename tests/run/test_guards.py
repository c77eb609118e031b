"""State guards: what a test leaves changed is named, at its test, and put back on request."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from windtunnel.record import open_record
from windtunnel.record.protocol import ViolationRow

BASE = """
    import json, locale, logging, os, random, sys, warnings
    from pathlib import Path
    import pytest
"""
Pollution = dict[str, str]


@pytest.fixture
def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[ViolationRow]]:
    """Run a suite that passes; returns the pollution on record."""
    ours = ("PYTEST_X", "PYTEST_C", "COV_", "CI")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)

    def go(text: str, *args: str, passed: int, base: str = BASE) -> list[ViolationRow]:
        pytester.makepyfile(test_it=base + text)
        arguments = ["-p", "no:randomly", "-p", "no:asyncio", *args]
        pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=passed)
        with open_record(pytester.path / ".windtunnel/record.db") as record:
            violations = record.violations(record.runs()[0].number)
        return [each for each in violations if each.rule == "pollution"]

    return go


POLLUTER = """
    def test_pollutes():
        os.environ["LEFT"] = "1"
        os.environ["API_TOKEN"] = "abcdef"
        del os.environ["REMOVED"]
        os.chdir("/")
        locale.setlocale(locale.LC_ALL, "C")
        logging.getLogger("known").setLevel(logging.ERROR)
        logging.getLogger("known").propagate = False
        logging.getLogger().addHandler(logging.NullHandler())
        logging.disable(logging.INFO)
        warnings.simplefilter("ignore", BytesWarning)
        random.seed(42)
        sys.modules["colorsys"] = sys
        del sys.modules["this_is_known"]
"""
SUBJECTS = {
    "os.environ['LEFT']",
    "os.environ['API_TOKEN']",
    "os.environ['REMOVED']",
    "os.getcwd()",
    "locale",
    "logging.getLogger('known').level",
    "logging.getLogger('known').propagate",
    "logging.getLogger().handlers",
    "logging.disable()",
    "warnings.filters",
    "random.seed()",
    "sys.modules['colorsys']",
    "sys.modules['this_is_known']",
}
BEFORE = """
    import colorsys
    sys.modules["this_is_known"] = type(sys)("this_is_known")
    logging.getLogger("known")
    os.environ["REMOVED"] = "was here"
    START = os.getcwd()

    @pytest.fixture(scope="module", autouse=True)
    def utf8(): locale.setlocale(locale.LC_ALL, "C.UTF-8")
"""


def test_each_kind_of_state_is_named_with_its_test_and_place(run) -> None:
    found = run(BEFORE + POLLUTER, passed=1)
    details = {each.subject: each.detail for each in found}
    assert set(details) == SUBJECTS
    assert {each.nodeid for each in found} == {"test_it.py::test_pollutes"}
    assert all(each.location.startswith("test_it.py:") for each in found)
    assert not any(each.fails for each in found)
    assert details["os.environ['LEFT']"] == "was not set, now '1'"
    assert details["os.environ['REMOVED']"] == "was 'was here', now removed"
    assert details["logging.getLogger('known').level"] == "was NOTSET, now ERROR"
    assert "seeded with 42" in details["random.seed()"]
    assert "ignore::BytesWarning" in details["warnings.filters"]
    assert "abcdef" not in details["os.environ['API_TOKEN']"]


def test_on_request_it_is_put_back_before_the_next_test(run) -> None:
    after = """
    def test_after():
        assert "LEFT" not in os.environ and os.environ["REMOVED"] == "was here"
        assert os.getcwd() == START and locale.setlocale(locale.LC_ALL) == "C.UTF-8"
        known = logging.getLogger("known")
        assert known.level == 0 and known.propagate and logging.root.manager.disable == 0
        assert not any(type(h) is logging.NullHandler for h in logging.getLogger().handlers)
        assert sys.modules["colorsys"] is colorsys and "this_is_known" in sys.modules
    """
    found = run(BEFORE + POLLUTER + after, "--wt-restore", passed=2)
    assert {each.subject for each in found} == SUBJECTS
    assert all(each.detail.endswith("(restored)") for each in found)


def test_what_is_no_pollution_is_not_reported(run) -> None:
    found = run(
        """
    @pytest.fixture(scope="module", autouse=True)
    def wide():
        os.environ["WIDE"] = "1"
        logging.getLogger("wide").setLevel(10)
        random.seed(1)
        before = os.getcwd()
        os.chdir("/")
        yield
        os.chdir(before)
        del os.environ["WIDE"]
        logging.getLogger("wide").setLevel(0)

    @pytest.fixture
    def own(monkeypatch, tmp_path):
        monkeypatch.setenv("OWN", "1")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setitem(sys.modules, "json", None)
        state = random.getstate()
        random.seed(5)
        yield
        random.setstate(state)

    def test_uses_them(own, caplog, recwarn):
        caplog.set_level(logging.DEBUG)
        random.random()
        import wave
        logging.getLogger("new").setLevel(10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")

    def test_last(): random.shuffle([1, 2, 3])
    """,
        "--log-level=DEBUG",
        passed=2,
    )
    assert found == []


def test_registries_and_singletons_that_the_user_names(run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        app="""
        class Odd:
            def __eq__(self, other): raise RuntimeError("no")
            def __repr__(self): raise RuntimeError("no")
        class Settings: pass
        PLUGINS = {"a": 1, "odd": Odd()}
        ORDER = [1, 2]
        NAMES = {"x"}
        SETTINGS = Settings()
        SETTINGS.debug = False
        SETTINGS.password = "old"
        """
    )
    names = "app:PLUGINS,app:ORDER,app:NAMES,app:SETTINGS,app:Settings.cache"
    text = """
    import app

    @pytest.fixture(scope="module", autouse=True)
    def wide():
        app.PLUGINS["wide"] = 1
        yield
        del app.PLUGINS["wide"]

    def test_pollutes():
        app.PLUGINS["b"] = 2
        app.PLUGINS["odd"] = app.Odd()
        app.ORDER.append(3)
        app.NAMES.clear()
        app.SETTINGS.debug = True
        app.SETTINGS.password = "new"
        app.Settings.cache = {}
    """
    pytester.path.joinpath("app.py").open("a").write("\nSettings.cache = {}\n")
    after = """
    def test_after():
        assert app.PLUGINS.keys() == {"a", "odd", "wide"} and app.ORDER == [1, 2]
        assert app.NAMES == {"x"} and app.SETTINGS.debug is False
    """
    found = run(text + after, "--wt-restore", f"--wt-registries={names}", passed=2)
    details = {each.subject: each.detail for each in found}
    assert set(details) == {
        "app:PLUGINS['b']",
        "app:PLUGINS['odd']",
        "app:ORDER[2]",
        "app:NAMES element 'x'",
        "app:SETTINGS.debug",
        "app:SETTINGS.password",
        "app:Settings.cache",
    }
    assert "Odd whose repr raises RuntimeError" in details["app:PLUGINS['odd']"]
    assert details["app:SETTINGS.debug"] == "was False, now True (restored)"
    assert "new" not in details["app:SETTINGS.password"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("app.PLUGINS", "a registry is named by module:attribute"),
        ("app:NOPE", "there is no registry 'app:NOPE'"),
        ("no_such_module:X", "cannot be imported"),
    ],
)
def test_a_registry_that_is_not_there_is_one_clear_error(
    pytester: pytest.Pytester, path: str, said: str
) -> None:
    pytester.makepyfile(app="PLUGINS = {}", test_it="def test_it(): pass")
    result = pytester.runpytest_subprocess("-p", "no:asyncio", f"--wt-registries={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = result.stdout.str() + result.stderr.str()
    assert said in output
    assert "Traceback" not in output


def test_only_the_guards_that_are_asked_for_look(run) -> None:
    text = """
    def test_it():
        os.environ["LEFT"] = "1"
        os.chdir("/")
    """
    assert [each.subject for each in run(text, "--wt-guards=cwd", passed=1)] == ["os.getcwd()"]
    assert run(text, "--wt-guards=none", passed=1) == []


def test_each_attempt_is_looked_at_and_isolation_is_said_to_undo(run) -> None:
    text = """
    TRIES = []
    def test_it():
        TRIES.append(1)
        os.environ["TRY"] = str(len(TRIES))
        assert len(TRIES) == 2
    """
    found = run(text, "--reruns=1", "--wt-isolation=env", passed=1)
    assert [each.subject for each in found] == ["os.environ['TRY']"] * 2
    assert all(each.detail.endswith("(undone by env isolation)") for each in found)
    forked = "def test_it():\n        os.environ['TRY'] = '1'\n"
    found = run("\n    " + forked, "--wt-isolation=fork", passed=1)
    assert [each.detail for each in found] == [
        "was not set, now '1' (gone with the test's own process)"
    ]


def test_under_xdist_and_in_our_workers_the_worker_is_named(run) -> None:
    text = """
    def test_it(): os.environ["LEFT"] = "1"
    """
    for workers in ("-n1", "--wt-workers=1"):
        (found,) = run(text, workers, passed=1)
        assert (found.subject, found.worker) == ("os.environ['LEFT']", "gw0")
