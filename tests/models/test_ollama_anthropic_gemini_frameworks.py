"""LangChain and pydantic-ai on Ollama, Anthropic and Gemini, in an environment of their own."""

from __future__ import annotations

import subprocess

import pytest

from foreign import ROOT, frameworks

PROOFS = ROOT / "tests" / "models" / "frameworks"


@pytest.mark.once
@pytest.mark.parametrize("framework", ["langchain", "pydantic_ai"])
def test_a_framework_cannot_tell_the_server_from_the_real_ones(framework: str) -> None:
    plain = [
        "--noconftest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:langsmith_plugin",
        "-p",
        "no:windtunnel",
    ]
    done = subprocess.run(
        [str(frameworks()), "-m", "pytest", "-q", *plain, "-c", "/dev/null",
         str(PROOFS / f"proof_{framework}.py")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
