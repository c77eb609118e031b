"""The official clients one major release back, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foreign import release
from windtunnel.models import ToolCall, serve

ASK = Path(__file__).with_name("earlier_sdks.py")


@pytest.mark.once
@pytest.mark.parametrize(
    ("client", "version", "error"),
    [
        ("anthropic", "1.17.0", "invalid_request_error"),
        ("google-genai", "2.34.0", "INVALID_ARGUMENT"),
        ("ollama", "0.5.4", "404"),
    ],
)
def test_the_release_before_is_answered_as_the_current_one(
    client: str, version: str, error: str
) -> None:
    with serve(("ollama", "anthropic", "gemini")) as server:
        server.on("hi").reply("Hello, you!")
        server.on(contains="weather").reply(ToolCall("get_weather", {"city": "Paris"}))
        done = subprocess.run(
            [sys.executable, str(ASK), client, server.url],
            env={**os.environ, "PYTHONPATH": str(release(client, version))},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert (told["version"], told["error"]) == (version, error)
    assert (told["text"], told["later"]) == ("Hello, you!", "Hello, you!")
    assert [part for part in told["parts"] if part] == ["Hello", ",", " you", "!"]
    assert told["call"] == {"city": "Paris"}
    assert told["models"] > 5
