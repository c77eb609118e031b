"""anthropic-python's own tests of its resources, from its source release, against the server."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from foreign import box, frameworks, release
from windtunnel.models import serve

SUITES = (
    "tests/api_resources/test_messages.py",
    "tests/api_resources/test_models.py",
    "tests/api_resources/messages",
    "tests/api_resources/beta/test_messages.py",
    "tests/api_resources/beta/test_models.py",
    "tests/api_resources/beta/messages",
)


def _version(python: Path) -> str:
    """Of the client in that environment, whose tests these are."""
    path = [str(next((python.parents[1] / "lib").glob("python*/site-packages")))]
    (found,) = importlib.metadata.distributions(name="anthropic", path=path)
    return found.version


@pytest.mark.once
def test_all_its_tests_of_messages_batches_and_models_pass(tmp_path: Path) -> None:
    python = frameworks()
    source = release("anthropic", _version(python), source=True)
    shutil.copytree(source / "tests", tmp_path / "tests")
    shutil.copy(source / "pyproject.toml", tmp_path)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:windtunnel", "-p", "no:langsmith_plugin"]
    options += ["-n", "0", "-W", "ignore", "--tb=line"]
    with serve() as server:
        done = subprocess.run(
            [
                *box(tmp_path, network=True),  # the server's loopback
                *("--setenv", "TEST_API_BASE_URL", server.url),
                *("--chdir", str(tmp_path), str(python), "-m", "pytest", *options, *SUITES),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout[-1000:]
    assert int(passed[1]) >= 400
    assert "skipped" not in done.stdout
