"""What others built on OpenAI's client, and that client's major version before, over our server.

They live in an environment of their own, ``.venv-frameworks``, which ``make test`` sets up.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from foreign import ROOT, frameworks

pytestmark = pytest.mark.once  # what is run is the same under every interpreter of ours

HERE = Path(__file__).parent


def _run(name: str) -> str:
    """The summary of a run of that file in the other environment."""
    command = [str(frameworks()), "-m", "pytest", str(HERE / name), "-q", "-p", "no:cacheprovider"]
    options = ["--tb=short", "--color=no", "--noconftest", "-p", "no:windtunnel"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def _version(package: str) -> str:
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run(
        [str(frameworks()), "-c", ask], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_litellm_langchain_and_pydantic_ai_get_what_they_ask_for():
    assert re.search(r"\b16 passed", _run("frameworks/proof_openai.py"))


def test_the_clients_major_version_before_gets_what_it_asks_for():
    assert re.search(r"\b47 passed", _run("test_openai_sdk.py"))
    assert _version("openai").startswith("2.")
