"""Loading the plugin loads core and nothing else: no other room, none of the heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = ("asyncio", "pydantic", "hypothesis", "sqlite3", "rich", "multiprocessing", "tomllib")

CONFTEST = """
import sys

def pytest_unconfigure():
    with open("modules.txt", "w") as file:
        file.write("\\n".join(sys.modules))
"""


def modules_after_collecting(folder: Path, *plugins: str) -> set[str]:
    """What `pytest --collect-only` of a folder without tests has imported when it ends."""
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    arguments = [argument for plugin in plugins for argument in ("-p", plugin)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", *arguments],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    return set((folder / "modules.txt").read_text().split())


def test_collecting_with_the_plugin_imports_core_and_no_other_room(tmp_path: Path):
    without = modules_after_collecting(tmp_path / "without")
    added = modules_after_collecting(tmp_path / "with", "windtunnel.plugin") - without
    ours = {name for name in added if name.split(".")[0] == "windtunnel"}
    rooms = {".".join(name.split(".")[:2]) for name in ours}
    assert rooms == {"windtunnel", "windtunnel.plugin", "windtunnel.core"}


def test_collecting_with_the_plugin_imports_no_heavy_library_by_itself(tmp_path: Path):
    without = modules_after_collecting(tmp_path / "without")
    added = modules_after_collecting(tmp_path / "with", "windtunnel.plugin") - without
    assert "windtunnel.plugin" in added
    assert {name.split(".")[0] for name in added} & set(HEAVY) == set()


def test_importing_the_package_imports_no_room_at_all():
    code = "import sys, windtunnel; print([m for m in sys.modules if m.startswith('windtunnel.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
