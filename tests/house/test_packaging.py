"""The wheel and the sdist are what a user gets, and they work in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel, built from the sdist as a package index's users would, and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", folder, ROOT, cwd=ROOT)
    return {"wheel": next(folder.glob("*.whl")), "sdist": next(folder.glob("*.tar.gz"))}


def test_the_wheel_holds_every_source_file_and_says_that_it_is_typed(built: dict[str, Path]):
    names = zipfile.ZipFile(built["wheel"]).namelist()
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in (source / "windtunnel").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= set(names)
    assert "windtunnel/py.typed" in names
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_sdist_holds_no_records_caches_or_environments(built: dict[str, Path]):
    with tarfile.open(built["sdist"]) as archive:
        names = archive.getnames()
    top = {name.split("/")[1] for name in names if "/" in name}
    assert top == {
        *("src", "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"),
        ".gitignore",
    }


def test_in_an_empty_environment_the_plugin_loads_and_a_suite_runs(
    built: dict[str, Path], tmp_path: Path
):
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=tmp_path)
    folder = tmp_path / "env" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", folder / "python", "install", "-q"]
    run(*pip, built["wheel"], cwd=tmp_path)
    (tmp_path / "test_tiny.py").write_text("def test_one():\n    assert 1 + 1 == 2\n")
    assert "pytest" in run(folder / "pytest", "--version", cwd=tmp_path)
    seen = run(folder / "pytest", "--no-header", "-q", "--wt-workers", "0", cwd=tmp_path)
    assert "1 passed" in seen
    seen = run(folder / "windtunnel", "run", "test_tiny.py", "-n", "2", cwd=tmp_path)
    assert "1 passed" in seen
    assert (tmp_path / ".windtunnel" / "record.db").exists()
