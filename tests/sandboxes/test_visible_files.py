"""What of this machine a cell sees: the libraries are found as the loader finds them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.sandboxes import libraries, view

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ELF")


def test_the_libraries_of_the_interpreter_are_those_that_ldd_names(require_tool) -> None:
    ldd = require_tool("ldd")
    extensions = sorted((view.standard_library() / "lib-dynload").glob("*.so"))
    programs = [view.interpreter(), *extensions]
    printed = subprocess.run([ldd, *programs], capture_output=True, text=True).stdout
    wanted = {Path(path).resolve() for path in re.findall(r"(/\S+) \(0x", printed)}
    found = {path.resolve() for path in libraries.needed(programs)}
    assert wanted
    assert found >= wanted
    # What more is found is needed by a library of another search path than its user's.
    assert {path.name for path in found - wanted} <= {path.name for path in wanted}


def test_what_is_no_program_needs_nothing(tmp_path: Path) -> None:
    empty, text, cut = tmp_path / "empty", tmp_path / "text", tmp_path / "cut"
    empty.touch()
    text.write_text("#!/bin/sh\n")
    cut.write_bytes(view.interpreter().read_bytes()[:64])
    assert libraries.needed([empty, text, cut, tmp_path / "missing"]) == frozenset()


def test_no_home_no_project_and_no_packages_are_visible() -> None:
    project = Path(__file__).resolve().parents[2]
    seen = view.visible()
    assert view.interpreter() in seen
    assert not [path for path in seen if path == project or project in path.parents]
    assert not [path for path in seen if path in (Path.home(), Path("/"), Path("/usr"))]
    assert [path for path in seen if Path("/etc") in path.parents] in (
        [],
        [Path("/etc/ld.so.cache")],
    )
    packages = view.standard_library() / "site-packages"
    assert not packages.is_dir() or packages in view.hidden()
