"""``windtunnel validate`` of integrations that are right, wrong and weak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from windtunnel.cli import main

pytestmark = pytest.mark.once  # processes that look at modules

GOOD = """
    from windtunnel import sessions
    from windtunnel.sessions import host_function, laws

    FILES = "fs.read"

    @host_function(needs=FILES, operation="read", resource="path")
    def read(path):
        return path

    def root():
        context = sessions.CapabilityContext("root")
        context.grant(FILES, resources="/data/**", operations="read")
        return context

    def confined(terms):
        return sessions.executor("monty", functions=terms.functions, limits=terms.limits)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``project(name, text)`` writes a module of a project in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    yield write
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        if any(place and place.startswith(str(tmp_path)) for place in places):
            del sys.modules[name]


@pytest.fixture
def validate(capsys: pytest.CaptureFixture[str]):
    """Run the command; its exit code and the findings of its JSON."""

    def run(*arguments: str) -> tuple[int, list[dict[str, str]]]:
        capsys.readouterr()
        code = main(["validate", *arguments, "--json"])
        out = capsys.readouterr().out
        return code, json.loads(out)["findings"] if out else []

    return run


def only(findings: list[dict[str, str]], name: str) -> dict[str, str]:
    [found] = [one for one in findings if one["name"] == name]
    return found


def capabilities(validate, *modules: str):
    return validate(*modules, "--only", "capabilities")


# -- capabilities -------------------------------------------------------------


def test_what_is_declared_and_checked_passes(project, validate):
    project("good", GOOD)
    assert capabilities(validate, "good")[0] == 0
    [found] = capabilities(validate, "good")[1]
    assert (found["name"], found["verdict"]) == ("fs.read", "pass")
    assert found["location"] == "good.py:13"


def test_what_is_declared_and_never_checked_fails_with_its_line(project, validate):
    project(
        "shop",
        """
        import shop_names
        from windtunnel.sessions import CapabilityToken

        PAY = "pay"

        def root(context):
            context.grant(PAY)
            context.grant(shop_names.REFUND, uses=1)
            return [CapabilityToken("mail.send"), CapabilityToken(type="sms.send")]
        """,
    )
    project("shop_names", 'REFUND = "refund"')
    code, found = capabilities(validate, "shop")
    assert code == 1
    assert {one["name"]: one["location"] for one in found} == {
        "pay": "shop.py:8", "refund": "shop.py:9", "mail.send": "shop.py:10",
        "sms.send": "shop.py:10",
    }  # fmt: skip
    assert {one["verdict"] for one in found} == {"fail"}


@pytest.mark.parametrize(
    "check",
    [
        'HostFunction("f", print, needs="pay")',
        'context.use("pay", size=1)',
        'context.take("pay")',
        'context.allowed(capability="pay")',
        'context.has_capability("pay")',
        'HOLDER = {"functions": [HostFunction("f", print, needs="p" + "ay")]}',
    ],
)
def test_each_way_to_check_counts(project, validate, check):
    project(
        "shop",
        f"""
        from windtunnel.sessions import CapabilityContext, HostFunction
        context = CapabilityContext("root")
        context.grant("pay")
        {check}
        """,
    )
    code, found = capabilities(validate, "shop")
    assert code == 0
    assert only(found, "pay")["verdict"] == "pass"


def test_a_check_in_another_module_of_the_package_counts(project, validate):
    project("shop/__init__", "")
    project("shop/grants", 'def root(context): context.grant("pay")')
    assert capabilities(validate, "shop")[0] == 1
    sys.modules.pop("shop")
    project("shop/pay/__init__", 'def pay(checker): checker.use("pay")')
    assert capabilities(validate, "shop")[0] == 0


def test_a_folder_without_an_init_is_a_package_too(project, validate):
    project("shop/grants", 'def root(context): context.grant("pay")')
    code, [found] = capabilities(validate, "shop")
    assert (code, found["location"]) == (1, "shop/grants.py:1")


def test_a_type_that_is_computed_is_not_judged(project, validate):
    project(
        "shop",
        """
        def root(context, name):
            context.grant("pay")
            context.use("p" + name)
        """,
    )
    code, [found] = capabilities(validate, "shop")
    assert (code, found["verdict"]) == (0, "unknown")
    assert "shop.py:4" in found["detail"]


def test_what_is_checked_and_never_declared_is_said(project, validate):
    project("shop", 'def pay(context): context.use("pay")')
    code, [found] = capabilities(validate, "shop")
    assert (code, found["verdict"]) == (0, "unknown")
    assert "every use is refused" in found["detail"]


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"operations": "write"}, "ask for read"),
        ({"resources": "/data/**"}, "name none"),
        ({"hosts": "a.com"}, "name none"),
        ({"max_bytes": 10}, "tell no size"),
        ({"total_bytes": 10}, "tell no size"),
    ],
)
def test_bounds_that_no_host_function_can_meet_fail(project, validate, bounds, says):
    project(
        "shop",
        f"""
        from windtunnel.sessions import CapabilityConstraint, CapabilityToken, HostFunction
        READ = HostFunction("read", lambda: None, needs="fs", operation="read")
        TOKENS = [CapabilityToken("fs", CapabilityConstraint(**{bounds!r}))]
        """,
    )
    code, found = capabilities(validate, "shop")
    assert code == 1
    [bad] = [one for one in found if one["verdict"] == "fail"]
    assert says in bad["detail"]


def test_tests_show_what_is_never_asked_for_when_the_code_runs(project, validate):
    project(
        "shop",
        """
        from windtunnel.sessions import CapabilityContext, HostFunction
        ROOT = CapabilityContext("root")
        ROOT.grant("pay", uses=2)
        ROOT.grant("refund")
        pay = HostFunction("pay", lambda: None, needs="pay")
        refund = HostFunction("refund", lambda: None, needs="refund")
        """,
    )
    project(
        "test_shop",
        """
        import pytest, shop
        from windtunnel.sessions import CapabilityDenied

        def test_paying():
            with shop.ROOT.scope():
                shop.pay(), shop.pay()
                with pytest.raises(CapabilityDenied):
                    shop.pay()
        """,
    )
    code, found = validate("shop", "--only", "capabilities", "--tests", "test_shop.py")
    assert code == 1
    seen = {one["name"]: one["detail"] for one in found if "run" in one["detail"]}
    assert "2 allowed, 1 refused" in seen["pay"]
    assert "nothing asks for it" in seen["refund"]


def test_tests_that_fail_fail_and_tests_that_are_not_there_are_an_error(project, validate):
    project("shop", GOOD)
    project("test_shop", "def test_it(): assert False")
    code, found = validate("shop", "--only", "capabilities", "--tests", "test_shop.py")
    assert code == 1
    assert only(found, "the tests")["verdict"] == "fail"
    assert validate("shop", "--only", "capabilities", "--tests", "nowhere.py") == (4, [])


# -- imports, engines, extensions ---------------------------------------------


def test_a_module_that_cannot_be_imported_fails_also_where_imports_are_not_asked_for(
    project, validate
):
    project("shop", "import not_to_be_found")
    code, [found] = capabilities(validate, "shop")
    assert code == 1
    assert "ModuleNotFoundError: No module named 'not_to_be_found'" in found["detail"]


@pytest.mark.parametrize("target", ["nowhere", "nowhere.py", "", "os.nowhere"])
def test_a_module_that_is_not_there_is_a_usage_error(project, validate, target):
    assert validate(target) == (4, [])


def test_a_file_is_looked_at_by_its_path(project, validate):
    path = project("inner/good", GOOD)
    code, [found] = capabilities(validate, str(path))
    assert (code, found["name"]) == (0, "fs.read")


def test_libraries_are_imported_and_named(validate):
    code, found = validate("--only", "imports")
    assert code == 0
    assert only(found, "anyio")["verdict"] == "pass"


def test_a_library_that_is_missing_is_unknown_and_one_that_is_broken_fails(
    project, validate, monkeypatch
):
    monkeypatch.setitem(sys.modules, "starlark", None)
    project("pygments", "raise RuntimeError('half installed')")
    monkeypatch.delitem(sys.modules, "pygments", raising=False)
    code, found = validate("--only", "imports")
    assert code == 1
    assert only(found, "starlark")["verdict"] == "unknown"
    assert "windtunnel[sessions]" in only(found, "starlark")["fix"]
    assert "half installed" in only(found, "pygments")["detail"]


def test_an_engine_is_tried_and_says_what_it_keeps_in(validate):
    code, [found] = validate("--only", "engines", "--engine", "monty")
    assert (code, found["verdict"]) == (0, "pass")
    assert "flaw in the interpreter" in found["detail"]
    assert validate("--only", "engines", "--engine", "mont") == (4, [])


@pytest.fixture
def package(project, tmp_path: Path):
    """``package(points)`` installs a package with these entry points, beside the modules."""

    def install(points: str) -> None:
        info = tmp_path / "brought-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(points))

    return install


def test_an_engine_of_a_package_is_found_and_one_that_does_not_confine_fails(
    project, package, validate
):
    project(
        "brought",
        """
        from windtunnel.sessions.protocol import ExecResult

        class Guest:
            isolation = "none at all"
            def __init__(self, names): self.names = names
            def run(self, code, *, inputs, limits, host):
                if "probe" in code:
                    return ExecResult(True, 42)
                return ExecResult(True, eval(code))
            def interrupt(self): pass
            def close(self): pass
            def reset(self): pass
        """,
    )
    package(
        """
        [windtunnel.engines]
        brought_engine = brought:Guest
        brought_nothing = brought:nowhere
        [windtunnel.plugins]
        lost = brought:Guest
        """
    )
    code, found = validate(
        "--only", "extensions", "--only", "engines", "--engine", "brought_engine"
    )
    assert code == 1
    engine = only(found, "brought_engine")
    assert engine["verdict"] == "fail"
    assert "called without its capability" in engine["detail"]
    assert only(found, "windtunnel.engines: brought_engine")["verdict"] == "pass"
    assert "AttributeError" in only(found, "windtunnel.engines: brought_nothing")["detail"]
    assert "nobody reads this group" in only(found, "windtunnel.plugins: lost")["detail"]


# -- adapters ------------------------------------------------------------------

SMALL_CONTRACT = """
    from windtunnel import laws

    from windtunnel.sessions import CapabilityContext
    from windtunnel.sessions.laws import CheckerContract

    class Keeps:
        def __init__(self): self.inner = CapabilityContext("mine")
        def scope(self, context): return self.inner.scope(context)
        def child(self, name, tokens=()):
            from windtunnel.sessions import current_context
            return current_context().child(name, tokens)
        def allowed(self, *wish, **more):
            from windtunnel.sessions import current_context
            return current_context().allowed(*wish, **more)
        def use(self, *wish, **more):
            from windtunnel.sessions import current_context
            return current_context().use(*wish, **more)
        def revoke(self, token):
            from windtunnel.sessions import current_context
            return current_context().revoke(token)

    class Careless(Keeps):
        def allowed(self, *wish, **more): return True
        def use(self, *wish, **more): return None
"""


def test_an_adapter_is_put_to_the_contract_of_its_kind(project, validate):
    project("mine", SMALL_CONTRACT)
    code, found = validate("--only", "adapters", "--adapter", "mine:Keeps")
    assert code == 0, found
    assert "laws hold" in only(found, "mine:Keeps")["detail"]
    code, found = validate("--only", "adapters", "--adapter", "mine:Careless")
    assert code == 1
    broken = [one["name"] for one in found if one["verdict"] == "fail"]
    assert broken
    assert all(name.startswith("mine:Careless: ") for name in broken)


def test_a_class_that_looks_like_an_adapter_and_is_put_to_no_contract_is_named(project, validate):
    project("mine", SMALL_CONTRACT)
    code, found = validate("mine", "--only", "adapters")
    assert code == 0
    assert [(one["name"], one["verdict"]) for one in found] == [
        ("mine.Keeps", "unknown"), ("mine.Careless", "unknown"),
    ]  # fmt: skip
    assert "CheckerContract" in found[0]["fix"]


def test_contracts_of_the_modules_are_asked(project, validate):
    project(
        "mine",
        SMALL_CONTRACT
        + """
    class Checkers(CheckerContract):
        subjects = {"keeps": Keeps, "careless": Careless}
    """,
    )
    code, found = validate("mine", "--only", "adapters")
    assert code == 1
    broken = [one["name"] for one in found if one["verdict"] == "fail"]
    assert broken
    assert all(name.startswith("Checkers: careless: ") for name in broken)
    assert not [one for one in found if one["name"].startswith("mine.")]  # all are subjects


@pytest.mark.parametrize("place", ["mine", "mine:nowhere", "nowhere:x", "mine:NUMBER", "mine:int"])
def test_a_factory_that_makes_no_adapter_is_a_usage_error(project, validate, place):
    project("mine", "NUMBER = 7\nint = int")
    assert validate("--only", "adapters", "--adapter", place) == (4, [])


# -- confinement ---------------------------------------------------------------


def test_an_executor_that_confines_withstands_a_family(project, validate):
    project("good", GOOD)
    code, [found] = validate(
        "--only", "confinement", "--executor", "good:confined", "--family", "formatting"
    )
    assert (code, found["verdict"]) == (0, "pass")
    assert "0 escaped" in found["detail"]


WEAK = """
    import contextlib, io
    from windtunnel.sessions import ExecResult

    class Weak:
        "Runs code with eval, in this process."
        def __init__(self, terms): self.functions = {one.name: one.call for one in terms.functions}
        async def execute(self, code, *, timeout_s=None, grants=None, inputs=None):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(code, {**self.functions, **(inputs or {})})
            except Exception as error:
                return ExecResult(False, error=str(error), error_type=type(error).__name__)
            return ExecResult(True)
        async def close(self): pass

    class Silent(Weak):
        async def execute(self, code, **more): return ExecResult(True)
"""


def test_an_executor_that_does_not_confine_fails_and_shows_what_escaped(project, capsys):
    project("weak", WEAK)
    code = main(["validate", "--only", "confinement", "--executor", "weak:Weak",
                 "--family", "formatting"])  # fmt: skip
    out = capsys.readouterr().out
    assert code == 1
    assert "fail     confinement   weak:Weak:" in out
    assert "escaped         formatting/" in out


def test_an_executor_that_does_nothing_is_unknown_and_no_pass(project, validate, capsys):
    project("weak", WEAK)
    code, [found] = validate(
        "--only", "confinement", "--executor", "weak:Silent", "--family", "formatting"
    )
    assert (code, found["verdict"]) == (14, "unknown")


def test_what_chooses_among_attempts_needs_an_executor(validate):
    assert validate("--family", "formatting") == (4, [])


# -- the command ----------------------------------------------------------------


def test_it_prints_a_line_a_finding_and_a_summary(project, capsys):
    project("shop", 'def root(context): context.grant("pay")')
    code = main(["validate", "shop", "--only", "capabilities"])
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert lines[0].startswith("fail     capabilities  pay: is declared and never checked")
    assert lines[1].strip().startswith("to fix: guard what it is about")
    assert lines[-1] == "1 finding: 0 pass, 1 fail, 0 unknown"


def test_as_a_user_starts_it_it_looks_in_the_current_folder(tmp_path: Path):
    (tmp_path / "good.py").write_text(textwrap.dedent(GOOD))
    done = subprocess.run(
        [sys.executable, "-m", "windtunnel", "validate", "good", "--only", "capabilities",
         "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert (done.returncode, document["schema"], document["verdict"]) == (0, 1, "pass")
