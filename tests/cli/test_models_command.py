"""``windtunnel models serve``, as a user starts and stops it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from windtunnel.cli import main


@contextmanager
def serving(*options: str) -> Iterator[dict[str, str]]:
    """The command, running; the environment it prints."""
    child = subprocess.Popen(
        [sys.executable, "-m", "windtunnel", "models", "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        first = child.stdout.readline()
        found = {"url": first.split()[-1]}
        while line := child.stdout.readline():
            name, _, value = line.removeprefix("export ").strip().partition("=")
            found[name] = value
            if name == "OLLAMA_HOST":
                break
        yield found
    finally:
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 0, errors
    assert "requests" in errors


def chat(url: str, text: str) -> str:
    body = {"model": "llama3.2", "stream": False, "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(url + "/api/chat", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["message"]["content"]


def test_it_serves_scripts_of_a_file_until_it_is_stopped(tmp_path: Path):
    file = tmp_path / "scripts.yaml"
    file.write_text("- {on: {text: hello}, reply: world}")
    with serving("--dialects", "ollama", "--scripts", str(file), "--seed", "7") as found:
        assert found["OLLAMA_HOST"].endswith(found["url"].partition("//")[2])
        assert chat(found["url"], "hello") == "world"
        assert chat(found["url"], "anything else")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--dialects", "latin"], "there is no such dialect"),
        (["--dialects", ""], "names at least one API"),
        (["--scripts", "nowhere.yaml"], "cannot be read"),
        (["--cassette", "nowhere.yaml"], "there is no such cassette"),
        (["--seed", "x"], "a seed is a whole number"),
        (["--port", "x"], "invalid int value"),
    ],
)
def test_wrong_options_get_one_clear_error(capsys, options, told):
    assert main(["models", "serve", *options]) == 4
    assert told in capsys.readouterr().err
