"""``windtunnel models``: ``serve`` as a user starts and stops it, ``check`` of a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from windtunnel.cli import main
from windtunnel.models import ModelServer, ToolCall
from windtunnel.models.laws import laws_of


@contextmanager
def serving(*options: str, errors: TextIO | None = None) -> Iterator[dict[str, str]]:
    """The command, running; the environment it prints."""
    child = subprocess.Popen(
        [sys.executable, "-m", "windtunnel", "models", "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if errors is None else errors,
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
        _, told = child.communicate(timeout=300)
    assert child.returncode == 0, told
    assert errors is not None or "requests" in told


def chat(url: str, text: str) -> str:
    body = {"model": "llama3.2", "stream": False, "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(url + "/api/chat", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["message"]["content"]


def test_it_serves_scripts_of_a_file_until_it_is_stopped(tmp_path: Path):
    file = tmp_path / "scripts.yaml"
    file.write_text("- {on: {text: hello}, reply: world}")
    with serving("--dialects", "ollama", "--scripts", str(file), "--seed", "7") as found:
        assert found["OLLAMA_HOST"].endswith(found["url"].partition("//")[2])
        assert chat(found["url"], "hello") == "world"
        assert chat(found["url"], "anything else")


def test_a_file_that_is_wrong_when_it_is_read_again_is_told_and_the_scripts_stay(tmp_path: Path):
    file = tmp_path / "scripts.yaml"
    file.write_text("- {on: {text: hello}, reply: one}")
    told = tmp_path / "told"
    with told.open("w") as errors, serving("--scripts", str(file), errors=errors) as found:
        assert chat(found["url"], "hello") == "one"
        file.write_text("- {on: {txt: hello}, reply: two}")
        wait_until(lambda: chat(found["url"], "hello") == "one" and "'txt'" in told.read_text())
        file.write_text("- {on: {text: hello}, reply: three}")
        wait_until(lambda: chat(found["url"], "hello") == "three")
    assert "did you mean text?" in told.read_text()
    assert "the scripts read before stay in use" in told.read_text()
    assert "scripts.yaml read again: 1 scripts" in told.read_text()


def wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--dialects", "latin"], "there is no such dialect"),
        (["--dialects", ""], "names at least one API"),
        (["--scripts", "nowhere.yaml"], "cannot be read"),
        (["--cassette", "nowhere.yaml"], "there is no such cassette"),
        (["--seed", "x"], "a seed is a whole number"),
        (["--port", "x"], "invalid int value"),
        (["--port", "70000"], "a number from 0 to 65535"),
    ],
)
def test_wrong_options_get_one_clear_error(capsys, options, told):
    assert main(["models", "serve", *options]) == 4
    assert told in capsys.readouterr().err


# -- check -----------------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[ModelServer]:
    with ModelServer(models=["gpt-4o"], api_key="sk-1", strict=False) as server:
        server.on(tools="look_up_weather").reply(ToolCall("look_up_weather", {"city": "Oslo"}))
        yield server


def test_check_says_a_line_a_law_and_a_summary_for_every_api_that_answers(capsys, served):
    assert main(["models", "check", served.url, "--key", "sk-1"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines} == {"ollama", "openai", "anthropic", "gemini"}
    assert {line.split()[0] for line in lines} == {"pass"}
    assert last == f"{len(lines)} laws: {len(lines)} hold, 0 fail, 0 unknown"


def test_check_ends_with_1_when_a_law_fails_and_says_what_was_found(capsys, served):
    served.on("Say hello.").error(500)
    assert main(["models", "check", served.url, "--dialect", "openai", "--key", "sk-1"]) == 1
    told = capsys.readouterr().out
    assert "fail     openai usage" in told
    assert "status 500, not 200" in told
    assert "pass     openai models" in told


def test_check_on_a_terminal_says_the_same_and_takes_no_word_for_markup(
    capsys, monkeypatch, served
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["models", "check", served.url, "--dialect", "openai", "--key", "sk-1"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == len(laws_of("openai"))
    assert "ends with [DONE]" in lines[3]
    assert f"{len(lines)} hold" in last


def test_check_as_json_has_every_finding_and_unknown_is_not_a_pass(capsys, served):
    served.core.api_key = None
    options = ["--dialect", "openai", "--model", "gpt-4o", "--json"]
    assert main(["models", "check", served.url + "/v1", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["url"]) == (1, served.url + "/v1")
    verdicts = {one["law"]: one["verdict"] for one in found["findings"]}
    assert verdicts.pop("wrong-key") == "unknown"
    assert set(verdicts.values()) == {"pass"}
    assert all(one["source"].startswith("https://") for one in found["findings"])


@pytest.mark.parametrize(
    ("options", "told", "code"),
    [
        (["http://127.0.0.1:1"], "no server answers at the URL", 12),
        (["http://127.0.0.1:1", "--dialect", "ollama"], "no server answers at the URL", 12),
        (["http://127.0.0.1:1", "--dialect", "latin"], "there is no such dialect", 4),
        (["127.0.0.1:1"], "takes the URL of a server", 4),
        (["http://127.0.0.1:x"], "takes the URL of a server", 4),
        (["http://127.0.0.1:1", "--timeout", "0"], "seconds above zero", 4),
        ([], "URL", 4),
    ],
)
def test_what_cannot_be_checked_gets_one_clear_error(capsys, options, told, code):
    assert main(["models", "check", *options]) == code
    assert told in capsys.readouterr().err
