"""The laws of the model APIs: ours keeps all of them, and each can tell a server that does not."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from windtunnel.core import ResourceError, UsageError, Verdict
from windtunnel.models import ModelServer, ToolCall
from windtunnel.models.laws import DIALECTS, check, laws_of, spoken

KEY = "sk-right"
MODELS = {
    "ollama": ["llama3.2", "nomic-embed-text"],
    "openai": ["gpt-4o", "text-embedding-3-small"],
    "anthropic": ["claude-sonnet-4-5"],
    "gemini": ["gemini-2.5-flash", "gemini-embedding-001"],
}


class Sent(NamedTuple):
    """A response, before or after it is broken."""

    status: int
    kind: str
    body: bytes


Breakage = Callable[[str, Sent], Sent]


class Breaker(ThreadingHTTPServer):
    """A server that hands every request on to a good one, and breaks what comes back."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.good = 0
        self.breakage: Breakage = lambda method, sent: sent

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Breaker

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.good, timeout=20)
        upstream.request(self.command, self.path, body, dict(self.headers))
        response = upstream.getresponse()
        sent = Sent(response.status, response.getheader("content-type", ""), response.read())
        upstream.close()
        sent = self.server.breakage(self.command, sent)
        self.send_response(sent.status)
        self.send_header("content-type", sent.kind)
        self.send_header("content-length", str(len(sent.body)))
        try:
            self.end_headers()
            self.wfile.write(sent.body)
        except ConnectionError:  # the law's client has gone away
            self.close_connection = True

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def good() -> Iterator[dict[str, ModelServer]]:
    """A server of ours for each API."""
    servers = {}
    for name in DIALECTS:
        server = ModelServer((name,), models=MODELS[name], api_key=KEY, strict=False).start()
        server.on(tools="look_up_weather").reply(ToolCall("look_up_weather", {"city": "Oslo"}))
        servers[name] = server
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="module")
def breaker() -> Iterator[Breaker]:
    server = Breaker()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# -- breakages -------------------------------------------------------------------------------------


def instead(old: str, new: str) -> Breakage:
    """Other words in every body."""
    return lambda method, sent: sent._replace(body=sent.body.replace(old.encode(), new.encode()))


def status(old: int, new: int) -> Breakage:
    """Another status."""
    return lambda method, sent: sent._replace(status=new) if sent.status == old else sent


class HarmedByStream:
    """After a stream nothing works."""

    def __init__(self) -> None:
        self.harmed = False

    def __call__(self, method: str, sent: Sent) -> Sent:
        if self.harmed and "stream" not in sent.kind and "ndjson" not in sent.kind:
            return Sent(500, "text/plain", b"gone")
        self.harmed |= "stream" in sent.kind or "ndjson" in sent.kind
        return sent


def head_fails(method: str, sent: Sent) -> Sent:
    return sent._replace(status=500) if method == "HEAD" else sent


NO_ERROR = instead('"error":', '"oops":')
MIXED = instead("word-aaa", "word-bbb")
WRONG_SHAPE = instead("degrees", "grades")
BREAKAGES: list[tuple[str, str, Breakage]] = [
    ("ollama", "stream", instead('"done":true', '"done":false')),
    ("ollama", "stream", instead("}\n{", "} {")),
    ("ollama", "generate", instead('"done":true', '"done":false')),
    ("ollama", "answer", instead('"role":"assistant"', '"role":"user"')),
    ("ollama", "done-reason", instead('"done_reason"', '"why"')),
    ("ollama", "counts", instead('"eval_count":', '"eval_count":0,"was":')),
    ("ollama", "durations", instead('"eval_duration":', '"eval_duration":9000000000000,"was":')),
    ("ollama", "load", instead('"done_reason":"load"', '"done_reason":"stop"')),
    ("ollama", "unload", instead('"done_reason":"unload"', '"done_reason":"stop"')),
    ("ollama", "ps", instead('"expires_at"', '"gone_at"')),
    ("ollama", "tags", instead('"digest"', '"hash"')),
    ("ollama", "show", instead('"model_info"', '"info"')),
    ("ollama", "version", instead('"version"', '"release"')),
    ("ollama", "embed", instead('"embeddings":[[', '"embeddings":[[1],[')),
    ("ollama", "embeddings", instead('"embedding":[', '"embedding":["a",')),
    ("ollama", "unknown-model", NO_ERROR),
    ("ollama", "missing-field", NO_ERROR),
    ("ollama", "wrong-type", instead('"error":', '"error":1,"was":')),
    ("ollama", "format", WRONG_SHAPE),
    ("ollama", "tools", instead('"arguments":', '"arguments":"{}","was":')),
    ("ollama", "head", head_fails),
    ("ollama", "malformed-json", status(400, 500)),
    ("ollama", "wrong-key", status(401, 200)),
    ("ollama", "unknown-path", status(404, 200)),
    ("ollama", "concurrent", MIXED),
    ("ollama", "client-gone", HarmedByStream()),
    ("openai", "models", instead('"owned_by"', '"owner"')),
    ("openai", "answer", instead('"finish_reason":"stop"', '"finish_reason":null')),
    ("openai", "usage", instead('"usage"', '"used"')),
    ("openai", "usage", instead('"total_tokens":', '"total_tokens":1')),
    ("openai", "stream-frames", instead("data: [DONE]\n\n", "")),
    ("openai", "stream-frames", instead("data: ", "")),
    ("openai", "stream-text", instead('"delta":{"content"', '"delta":{"text"')),
    ("openai", "stream-usage", instead('"usage":null', '"usage":{"total_tokens":1}')),
    ("openai", "stream-usage", instead('"usage":{', '"used":{')),
    ("openai", "tools", instead('"arguments":"', '"arguments":"not JSON ')),
    ("openai", "json-schema", WRONG_SHAPE),
    ("openai", "embeddings", instead('"index":1', '"index":2')),
    ("openai", "embeddings-base64", instead('"embedding":"', '"embedding":"AAAA')),
    ("openai", "unknown-model", status(404, 500)),
    ("openai", "missing-field", NO_ERROR),
    ("openai", "wrong-type", instead('"message":', '"text":')),
    ("openai", "malformed-json", NO_ERROR),
    ("openai", "wrong-key", status(401, 403)),
    ("openai", "unknown-path", head_fails),
    ("openai", "concurrent", MIXED),
    ("openai", "client-gone", HarmedByStream()),
    ("anthropic", "models", instead('"has_more"', '"more"')),
    ("anthropic", "answer", instead('"stop_reason":"end_turn"', '"stop_reason":"end"')),
    ("anthropic", "usage", instead('"input_tokens":', '"input_tokens":0,"was":')),
    ("anthropic", "stream-events", instead("event: message_stop", "event: message_delta")),
    ("anthropic", "stream-events", instead("content_block_start", "content_block_stop")),
    ("anthropic", "stream-text", instead('"text_delta","text"', '"text_delta","said"')),
    ("anthropic", "tools", instead('"stop_reason":"tool_use"', '"stop_reason":"end_turn"')),
    ("anthropic", "count-tokens", instead('"input_tokens"', '"tokens"')),
    ("anthropic", "unknown-model", instead('"type":"error"', '"type":"oops"')),
    ("anthropic", "missing-field", status(400, 200)),
    ("anthropic", "wrong-type", NO_ERROR),
    ("anthropic", "unpaired-tool", status(400, 200)),
    ("anthropic", "malformed-json", NO_ERROR),
    ("anthropic", "wrong-key", NO_ERROR),
    ("anthropic", "unknown-path", NO_ERROR),
    ("anthropic", "concurrent", MIXED),
    ("anthropic", "client-gone", HarmedByStream()),
    ("gemini", "models", instead("supportedGenerationMethods", "methods")),
    ("gemini", "answer", instead('"finishReason"', '"reason"')),
    ("gemini", "usage", instead('"totalTokenCount":', '"totalTokenCount":1')),
    ("gemini", "stream", instead('"finishReason"', '"reason"')),
    ("gemini", "tools", instead('"args"', '"arguments"')),
    ("gemini", "json-schema", WRONG_SHAPE),
    ("gemini", "count-tokens", instead('"totalTokens"', '"tokens"')),
    ("gemini", "embed", instead('"values":[', '"values":["a",')),
    ("gemini", "unknown-model", instead('"code":404', '"code":400')),
    ("gemini", "missing-field", NO_ERROR),
    ("gemini", "wrong-type", instead('"status":', '"state":')),
    ("gemini", "malformed-json", NO_ERROR),
    ("gemini", "wrong-key", NO_ERROR),
    ("gemini", "unknown-path", NO_ERROR),
    ("gemini", "concurrent", MIXED),
    ("gemini", "client-gone", HarmedByStream()),
]


# -- what holds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_our_server_keeps_every_law_of_an_api(good, dialect):
    found = list(check(good[dialect].url, dialect, key=KEY))
    assert [one for one in found if one.verdict is not Verdict.PASS] == []
    assert [one.law for one in found] == list(laws_of(dialect))


@pytest.mark.parametrize(
    ("dialect", "law", "breakage"),
    [pytest.param(*row, id=f"{row[0]}-{row[1]}-{n}") for n, row in enumerate(BREAKAGES)],
)
def test_a_law_names_what_is_broken(good, breaker, dialect, law, breakage):
    breaker.good = good[dialect].port
    breaker.breakage = lambda method, sent: sent
    whole, *_ = check(breaker.url, dialect, key=KEY, model=MODELS[dialect][0], laws=[law])
    assert whole.verdict is Verdict.PASS, whole.reason
    if isinstance(breakage, HarmedByStream):
        breakage.harmed = False
    breaker.breakage = breakage
    found, *_ = check(breaker.url, dialect, key=KEY, model=MODELS[dialect][0], laws=[law])
    assert found.verdict is Verdict.FAIL, found
    assert found.reason


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_law_can_fail(dialect):
    broken = {law for name, law, _ in BREAKAGES if name == dialect}
    assert broken == {law.name for law in laws_of(dialect)}
    assert all(law.says and law.source.startswith("https://") for law in laws_of(dialect))


def test_what_a_server_does_not_come_to_is_unknown_and_no_pass():
    with ModelServer(("ollama",), strict=False) as server:
        server.on(tools="look_up_weather").reply("I would rather not.")
        tools, key = check(server.url, "ollama", laws=["tools", "wrong-key"])
    with ModelServer(("openai",), strict=False) as server:
        (model,) = check(server.url, "openai", laws=["unknown-model"])
    assert {one.verdict for one in (tools, key, model)} == {Verdict.UNKNOWN}
    assert "without calling the tool" in tools.reason
    assert "no key was given" in key.reason
    assert "any model's name" in model.reason


def test_the_apis_of_a_server_are_found_and_its_path_may_be_given(good, breaker):
    for name, server in good.items():
        assert spoken(server.url + "/", key=KEY) == (name,)
    url = good["openai"].url + "/v1/"
    assert [one.verdict for one in check(url, "openai", key=KEY, laws=["usage"])] == [Verdict.PASS]


def test_what_cannot_be_checked_is_one_clear_error(good, breaker):
    breaker.good = good["ollama"].port
    breaker.breakage = lambda method, sent: Sent(404, "text/plain", b"nothing here")
    with pytest.raises(ResourceError, match="in no API that has laws"):
        spoken(breaker.url)
    breaker.breakage = lambda method, sent: Sent(401, "application/json", b"{}")
    with pytest.raises(ResourceError, match="--key KEY"):
        spoken(breaker.url)
    with pytest.raises(UsageError, match="no such dialect"):
        list(check(breaker.url, "latin"))
    with pytest.raises(UsageError, match="takes the URL of a server"):
        list(check("localhost:1", "openai"))


def test_a_server_that_answers_anything_but_the_api_fails_and_harms_nothing(good, breaker):
    breaker.good = good["openai"].port
    for body in (b"[]", b"null", b'"text"', b"1", b'{"choices": 3, "error": [], "data": [1]}'):
        breaker.breakage = lambda method, sent, body=body: Sent(200, "application/json", body)
        for dialect in DIALECTS:
            shapes = ["models", "tags", "answer", "usage", "tools", "stream", "missing-field"]
            found = list(check(breaker.url, dialect, laws=shapes))
            assert {one.verdict for one in found} == {Verdict.FAIL}, (body, found)
