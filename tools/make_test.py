"""``make test``: set up whatever is missing and run everything that must pass.

``--lint`` runs the static half alone.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

import debian
import environments
import steps
from environments import ROOT
from steps import Step

# Typed as strictly as the house: what its users read and what builds it.
TYPED = ["src/windtunnel", "tools", "examples/fleet/src"]
# The oldest pytest that the house promises to run on is tested on this interpreter.
OLD_PYTEST = "3.12"
# Proved once, since they do not depend on the interpreter.
ONCE = ["tests/docs", "tests/coexistence", "tests/house"]
# What works with the interpreter's insides runs whole on each. The other files are divided among
# the newer interpreters, so that each is run on two.
EVERYWHERE = (
    "tests/core/",
    "tests/explore/",
    "tests/laws/test_general_laws.py",
    "tests/laws/test_vacuity.py",
    "tests/sim/",
)
DIVIDED = ("tests/sim/test_found_", "tests/sim/test_lib_", "tests/sim/test_net_")
HUNTS = "tests/probe/"
PARTS = 5
COEXIST = ROOT / ".venv-coexist"
FRAMEWORKS = ROOT / ".venv-frameworks"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lint", action="store_true", help="the static checks alone")
    given = parser.parse_args()
    began = time.perf_counter()
    # Tests of processes wait more than they compute: one step more than there are cores.
    jobs = 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    pool = steps.Steps(ROOT, jobs)
    try:
        steps.say("setting up what is missing (downloads the first time)")
        main_version, suites = _set_up(pool, lint_only=given.lint)
    except environments.SetupError as error:
        return steps.fail(error)
    todo = _lint() if given.lint else [*_tests(main_version, suites), *_lint(), *_demonstration()]
    steps.say(f"running {len(todo)} steps, {jobs} at a time{'' if given.lint else ', then one'}")
    results = pool.run(todo)
    if not given.lint:
        results += steps.Steps(ROOT, 1).run([_quiet()])
    broken = [result.step.name for result in results if result.code]
    if broken:
        steps.say(f"not right: {', '.join(broken)}")
    steps.say(_totals(results, time.perf_counter() - began))
    return 1 if broken else 0


def _set_up(pool: steps.Steps, *, lint_only: bool) -> tuple[str, dict[str, Path]]:
    """Environments and packages; returns the main version and the other suites' interpreters."""
    main = environments.ensure(ROOT / ".venv", environments.base_python(), _main_packages())
    version = environments.version_of(main)
    if lint_only:
        return version, {}
    found = environments.interpreters()
    others = {v: path for v, path in found.items() if v != version}
    absent = [v for v in environments.VERSIONS if v not in found and v != version]
    if absent:
        steps.say(f"  not found, so not tested on: Python {', '.join(absent)}")
    todo = [Step("Debian packages", debian.install_missing)]
    todo.append(_environment(COEXIST, environments.base_python(), _coexist_packages()))
    frameworks = environments.group("frameworks")
    todo.append(_environment(FRAMEWORKS, environments.base_python(), frameworks))
    for v, path in others.items():
        todo.append(_environment(_folder(v), path, _suite_packages(v)))
    failed = [result for result in pool.run(todo) if result.code]
    if failed:
        raise environments.SetupError(f"{', '.join(r.step.name for r in failed)}: see above")
    return version, {v: _folder(v) / "bin" / "python" for v in others}


def _environment(folder: Path, python: str, packages: list[str]) -> Step:
    return Step(folder.name, lambda: str(environments.ensure(folder, python, packages)))


def _folder(version: str) -> Path:
    return ROOT / f".venv-{version}"


def _main_packages() -> list[str]:
    return [*environments.run_packages(), *environments.group("dev")]


def _suite_packages(version: str) -> list[str]:
    packages = [*environments.run_packages(), *environments.group("test")]
    return [*packages, "pytest<9"] if version == OLD_PYTEST else packages


def _coexist_packages() -> list[str]:
    return environments.group("coexist")


def _tests(main_version: str, others: dict[str, Path]) -> list[Step]:
    main = environments.main_interpreter()
    files = [file for file in _files() if not file.startswith(HUNTS)]
    hunts = _pytest(f"tests on {main_version}, hunts", main, [HUNTS])
    # In parts, after what takes long in one piece, so that nothing is left to run by itself.
    parts = [
        _pytest(f"tests on {main_version}, {part + 1} of {PARTS}", main, files[part::PARTS])
        for part in range(PARTS)
    ]
    once = _pytest("docs, neighbours, house", main, [f for f in ONCE if (ROOT / f).exists()])
    newer = [
        _pytest(f"tests on {version}", python, _share(n, len(others)), but="quiet or once")
        for n, (version, python) in enumerate(others.items())
    ]
    doctests = _pytest("doctests", main, ["--doctest-modules", "src/windtunnel"])
    return [*newer, once, hunts, *parts, doctests]


def _files() -> list[str]:
    """The test files that are run on more than one interpreter."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    files = [str(path.relative_to(ROOT)) for path in paths]
    return [file for file in files if not file.startswith(tuple(ONCE))]


def _share(number: int, of: int) -> list[str]:
    """The test files for one of so many newer interpreters."""
    files = _files()
    everywhere = [
        file for file in files if file.startswith(EVERYWHERE) and not file.startswith(DIVIDED)
    ]
    divided = [file for file in files if file not in everywhere]
    return [*everywhere, *divided[number::of]]


def _quiet() -> Step:
    """Tests that tell an idle machine from a loaded one, which therefore run by themselves."""
    python = environments.main_interpreter()
    options = ["-q", "--color=no", "--tb=short", "-p", "no:cacheprovider"]
    files = [file for file in _files() if "pytest.mark.quiet" in (ROOT / file).read_text()]
    return Step("tests in quiet", [str(python), "-m", "pytest", *files, "-m", "quiet", *options])


def _pytest(name: str, python: Path, arguments: list[str], but: str = "quiet") -> Step:
    # Steps that run side by side must not share pytest's cache.
    cache = environments.CACHE / f"pytest {name}"
    options = ["-m", f"not ({but})", "-q", "--color=no", "--tb=short", "-o", f"cache_dir={cache}"]
    return Step(name, [str(python), "-m", "pytest", *arguments, *options])


def _lint() -> list[Step]:
    folder = environments.main_interpreter().parent
    return [
        Step("ruff check", [f"{folder}/ruff", "check", "."]),
        Step("ruff format", [f"{folder}/ruff", "format", "--check", "."]),
        Step("mypy --strict", [f"{folder}/mypy", "--strict", *TYPED]),
        Step("pyright", [f"{folder}/pyright", *TYPED]),
        Step("import-linter", [f"{folder}/lint-imports"]),
    ]


def _demonstration() -> list[Step]:
    return [Step("make run", ["make", "run"])]


def _totals(results: list[steps.Result], seconds: float) -> str:
    """The last line: how many tests passed, failed and were skipped, over all suites."""
    counts = Counter[str]()
    for result in results:
        if not re.search(r" in [\d.]+s", result.last_line):
            continue  # not pytest's
        for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", result.last_line):
            counts[word.rstrip("s") if word.startswith("error") else word] += int(number)
    words = [f"{counts[w]} {w}" for w in ("failed", "error", "passed", "skipped") if counts[w]]
    right = sum(result.code == 0 for result in results)
    steps.say(f"{right} of {len(results)} steps right after {seconds:.0f} s")
    return ", ".join(words) or "no tests were run"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
