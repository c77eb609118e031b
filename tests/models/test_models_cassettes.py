"""Recording a real server and giving its answers again; secrets, drift, cassettes of VCR.py."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tiny_dialect import asked, said, sent

from windtunnel.core.errors import UsageError
from windtunnel.core.seed import Seed
from windtunnel.models import ModelServer, Recorded, serve
from windtunnel.models.cassettes import Cassette, canonical, key_of
from windtunnel.models.protocol import Message, ModelCall, ToolCall, ToolResult

SECRET = "sk-proj-abcdefghijklmnopqrstuvwx"


@pytest.fixture
def real() -> Iterator[ModelServer]:
    """A server that stands for a provider's."""
    with serve(("tiny",), seed=Seed(1)) as server:
        yield server


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("tiny",), seed=Seed(2)) as server:
        yield server


def ask(server: ModelServer, text: str, **more) -> httpx.Response:
    headers = {"x-key": SECRET, **more.pop("headers", {})}
    body = {"text": text, **more}
    return httpx.post(f"{server.url}/tiny/say", json=body, headers=headers, timeout=60)


def test_what_was_recorded_is_given_again_without_the_real_server(real, server, tmp_path):
    path = tmp_path / "one.yaml"
    real.on("a").reply("first a", "second a")
    real.on("b").reply("the b")
    server.use_cassette(path, "record", upstream=real.url)
    recorded = [ask(server, text).json()["text"] for text in ("a", "b", "a")]
    assert recorded == ["first a", "the b", "second a"]
    real.stop()
    replaying = ModelServer(("tiny",))
    replaying.use_cassette(path)
    # In another order: the same calls have their answers all the same, and the last again.
    found = [said(replaying.core.handle(asked(text)))["text"] for text in ("b", "a", "a", "a")]
    assert found == ["the b", "first a", "second a", "second a"]


def test_a_stream_is_recorded_in_its_frames(real, server, tmp_path):
    real.on("a").reply("one two")
    server.use_cassette(tmp_path / "s.yaml", "record", upstream=real.url)
    recorded = ask(server, "a", stream=True).text
    server.use_cassette(tmp_path / "s.yaml")
    real.stop()
    assert ask(server, "a", stream=True).text == recorded
    assert recorded.count("\n") == 4


def test_only_what_is_missing_is_asked_for(real, server, tmp_path):
    path = tmp_path / "m.yaml"
    real.set_response("from the real one")
    server.use_cassette(path, "record", upstream=real.url)
    ask(server, "a")
    server.use_cassette(path, "record_missing", upstream=real.url)
    ask(server, "a")
    ask(server, "b")
    assert [one.text for one in real.requests] == ["a", "b"]
    assert all(isinstance(one, Recorded) for one in real.requests)


def test_a_cassette_can_be_read_and_has_no_secret_in_it(real, server, tmp_path):
    path = tmp_path / "r.yaml"
    real.set_response(f"line one\nline two\nyour key is {SECRET}")
    server.use_cassette(path, "record", upstream=real.url, hidden=["my own secret"])
    ask(server, "tell me my own secret")
    text = path.read_text()
    assert SECRET not in text
    assert "my own secret" not in text
    assert "[redacted]" in text
    assert "model: tiny-1" in text
    server.use_cassette(path, hidden=["my own secret"])
    real.stop()
    assert ask(server, "tell me my own secret").status_code == 200


def test_a_call_that_was_not_recorded_is_an_error_that_shows_the_difference(server, tmp_path, real):
    path = tmp_path / "d.yaml"
    server.use_cassette(path, "record", upstream=real.url)
    ask(server, "the weather in Oslo", system="Be brief.")
    server.use_cassette(path)
    answer = ask(server, "the weather in Rome", system="Be brief.")
    assert answer.status_code == 400
    told = answer.json()["error"]["message"]
    assert "-  text: the weather in Oslo" in told
    assert "+  text: the weather in Rome" in told
    assert len(server.core.unmatched) == 1


def test_scripts_go_before_the_cassette(real, server, tmp_path):
    real.set_response("real")
    server.use_cassette(tmp_path / "x.yaml", "record", upstream=real.url)
    server.on("mine").reply("scripted")
    assert ask(server, "mine").json()["text"] == "scripted"
    assert ask(server, "other").json()["text"] == "real"


def test_each_namespace_has_its_own_recorded_answers(real, server, tmp_path):
    path = tmp_path / "n.yaml"
    real.on("a").reply("for one", "for two")
    server.use_cassette(path, "record", upstream=real.url)
    spaces = [{"x-windtunnel-namespace": name} for name in ("one", "two")]
    for space in spaces:
        ask(server, "a", headers=space)
    server.use_cassette(path)
    found = [ask(server, "a", headers=space).json()["text"] for space in reversed(spaces)]
    assert found == ["for two", "for one"]


def test_calls_at_once_each_have_the_answer_to_what_they_asked(real, server, tmp_path):
    path = tmp_path / "c.yaml"
    real.set_response(lambda call: f"answer to {call.last_user_text}")
    server.use_cassette(path, "record", upstream=real.url)

    async def all_at_once() -> list[tuple[str, str]]:
        async with httpx.AsyncClient(timeout=60) as client:  # the last waits for all to be written

            async def one(text: str) -> tuple[str, str]:
                answer = await client.post(f"{server.url}/tiny/say", json={"text": text})
                return text, answer.json()["text"]

            return await asyncio.gather(*(one(str(n)) for n in range(20)))

    recorded = asyncio.run(all_at_once())
    server.use_cassette(path)
    real.stop()
    assert asyncio.run(all_at_once()) == recorded
    assert all(answer == f"answer to {text}" for text, answer in recorded)


def test_calls_at_once_are_written_to_a_json_file_one_after_the_other(tmp_path, monkeypatch):
    write, writing = Path.write_text, []

    def slowly(path: Path, *text, **more) -> int:
        writing.append(path)
        assert len(writing) == 1
        time.sleep(0.01)  # in which another could begin
        written = write(path, *text, **more)
        writing.clear()
        return written

    monkeypatch.setattr(Path, "write_text", slowly)
    cassette = Cassette(tmp_path / "c.json")
    core = ModelServer(("tiny",)).core

    def add(text: str) -> None:
        cassette.add(core.read(asked(text)), 200, "application/json", b'{"text": "x"}')

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, "abcdefgh"))
    found = [one.asked["messages"][0]["text"] for one in Cassette(cassette.path).interactions]
    assert sorted(found) == list("abcdefgh")


def test_a_call_is_known_by_what_it_says_and_not_by_its_identifiers():
    def call(identifier: str, content: str = "sunny") -> ModelCall:
        return ModelCall(
            "tiny",
            "say",
            "m",
            messages=(
                Message("user", "weather?"),
                Message("assistant", tool_calls=(ToolCall("look", {"b": 1, "a": 2}, identifier),)),
                Message("tool", tool_results=(ToolResult(identifier, "look", content),)),
            ),
        )

    keys = [key_of(canonical(one)) for one in (call("x1"), call("x2"), call("x1", "rain"))]
    assert keys[0] == keys[1] != keys[2]


def test_the_real_server_out_of_reach_is_a_bad_gateway(server, tmp_path):
    with socket.socket() as kept:  # a port that nobody listens at, and no other process is given
        kept.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{kept.getsockname()[1]}"
        server.use_cassette(tmp_path / "g.yaml", "record", upstream=url)
        answer = ask(server, "a")
    assert answer.status_code == 502
    assert "cannot be reached" in answer.json()["error"]["message"]


@pytest.mark.parametrize("text", ["[1, 2]", "format: 7", "format: 1\ninteractions: [{asked: {}}]"])
def test_a_file_that_is_no_cassette_is_one_clear_error(server, tmp_path, text):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"wrong\.yaml"):
        server.use_cassette(path)
    with pytest.raises(UsageError, match="no such cassette"):
        server.use_cassette(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("packed", [False, True])
def test_a_cassette_of_vcr_py_is_imported(tmp_path, packed):
    body = json.dumps({"text": "from VCR.py"})
    headers = {"Content-Type": ["application/json"]}
    if packed:
        data = base64.encodebytes(gzip.compress(body.encode())).decode()
        string = f"!!binary |\n        {data.strip()}"
        headers["Content-Encoding"] = ["gzip"]
    else:
        string = json.dumps(body)
    source = tmp_path / "vcr.yaml"
    source.write_text(
        f"""interactions:
- request:
    body: '{{"text": "hello"}}'
    headers: {{content-type: [application/json], authorization: [Bearer {SECRET}]}}
    method: POST
    uri: https://api.tiny.example/tiny/say
  response:
    body:
      string: {string}
    headers: {json.dumps(headers)}
    status: {{code: 200, message: OK}}
- request: {{body: null, headers: {{}}, method: GET, uri: https://api.tiny.example/tiny/models}}
  response: {{body: {{string: '{{}}'}}, headers: {{}}, status: {{code: 200, message: OK}}}}
version: 1
"""
    )
    server = ModelServer(("tiny",))
    made = server.import_vcr(source, tmp_path / "ours.yaml")
    assert len(made.interactions) == 1
    assert SECRET not in Path(tmp_path / "ours.yaml").read_text()
    server.use_cassette(tmp_path / "ours.yaml")
    plan = server.core.handle(asked())
    assert (sent(plan)[0], said(plan)["text"]) == (200, "from VCR.py")
