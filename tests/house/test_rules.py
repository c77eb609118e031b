"""Rules of the house that a machine can keep: layers, one clock, no swallowed errors."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def broken_by(rule: Callable[[ast.AST], bool], *, except_in: tuple[str, ...] = ()) -> list[str]:
    """Where in the sources a node breaks the rule, as ``file:line``."""
    found = []
    for path in SOURCES:
        name = str(path.relative_to(ROOT / "src" / "windtunnel"))
        if name in except_in:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if rule(node):
                found.append(f"{name}:{getattr(node, 'lineno', 0)}")
    return found


def texts() -> Iterator[tuple[str, str]]:
    """Every text file of the project that is under version control, and its content."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def test_rooms_import_downward_only():
    linter = Path(sys.executable).parent / "lint-imports"
    if not linter.exists():
        linter = Path(shutil.which("lint-imports") or linter)
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "rooms import downward only KEPT" in done.stdout


def test_the_time_is_asked_of_a_clock_and_of_nobody_else():
    asked = re.compile(
        r"time\.(time|monotonic|perf_counter|sleep)(_ns)?|datetime\.(now|utcnow|today)"
        r"|datetime\.datetime\.(now|utcnow|today)|date\.today|datetime\.date\.today"
    )

    def asks(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and asked.fullmatch(ast.unparse(node.func)) is not None

    # The second moves the date of its own process, and must see what it moves.
    assert broken_by(asks, except_in=("core/clock.py", "probe/inside.py")) == []


def test_no_error_is_swallowed_whatever_it_is():
    def swallows(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler):
            return False
        broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        return broad and all(isinstance(statement, ast.Pass) for statement in node.body)

    assert broken_by(swallows) == []


def test_public_names_of_the_house_are_documented():
    undocumented = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree) and path.name != "__main__.py":
            undocumented.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                plain = not node.name.startswith(("_", "pytest_", "attach"))
                if plain and not ast.get_docstring(node):
                    undocumented.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert undocumented == []


@pytest.mark.parametrize("room", ["bench", "laws", "models", "sandboxes", "sessions"])
def test_every_public_name_of_a_room_is_used_in_a_test(room: str):
    names = importlib.import_module(f"windtunnel.{room}").__all__
    used = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _names_of(node)
    }
    assert [name for name in names if name not in used] == []


def _names_of(node: ast.AST) -> Iterator[str]:
    """The names that a node uses, imports among them."""
    if isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.name for alias in node.names)


def test_no_file_names_a_folder_of_somebodys_machine():
    own = re.compile(r"(?<![\w.])/(root|home/\w+|Users/\w+|work)/[\w.]+")
    # Placeholders that documentation of any project may hold.
    known = re.compile(r"/home/(user|you|me|ann|runner)/|/Users/(you|me)/")
    found = [
        f"{name}: {match.group()}"
        for name, text in texts()
        for match in own.finditer(text)
        if not known.match(match.group()) and name != "tests/house/test_rules.py"
    ]
    assert found == []


def test_nothing_is_left_to_be_done():
    marks = re.compile(r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b")
    assert [name for name, text in texts() if marks.search(text)] == []


def test_the_licence_of_the_project_is_the_licence_of_its_file():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert 'license = { text = "Apache-2.0" }' in (ROOT / "pyproject.toml").read_text()
