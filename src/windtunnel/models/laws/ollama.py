"""Laws of Ollama's API."""

from __future__ import annotations

from typing import Any

from windtunnel.models.laws import book as books
from windtunnel.models.laws.book import Book, Ways, add_common, allowed, numbers, satisfies
from windtunnel.models.laws.peer import Answer, NotExercisedError, Peer, expect, parsed, take

_API = "https://github.com/ollama/ollama/blob/main/docs/api.md"
BOOK = Book("ollama", f"{_API}#generate-a-chat-completion")
law = BOOK.law
CHAT = "/api/chat"
NDJSON = "application/x-ndjson"
_NO_CHAT = ("embed", "minilm", "bge-")
_REASONS = {"stop", "length"}
_PARTS = ("load_duration", "prompt_eval_duration", "eval_duration")


def choose(peer: Peer) -> None:
    """Name the models that are asked, where nobody did: from the server's list."""
    answer = peer.ask("GET", "/api/tags")
    listed = parsed(answer.body) if answer.status == 200 else {}
    data = listed.get("models") if isinstance(listed, dict) else None
    names = [str(one.get("name")) for one in data or () if isinstance(one, dict)]
    chats = [name for name in names if not any(part in name for part in _NO_CHAT)]
    peer.model = peer.model or next(iter(chats), "llama3.2")
    others = [name for name in names if name not in chats]
    peer.embedder = peer.embedder or next(iter(others), peer.model)


def chat(
    peer: Peer, text: str = "Say hello.", stream: bool | None = False, **more: Any
) -> dict[str, Any]:
    """The body of a chat; ``stream`` None leaves it to the server."""
    body = {"model": peer.model, "messages": [{"role": "user", "content": text}], **more}
    return body if stream is None else body | {"stream": stream}


def _named(peer: Peer, word: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"word": {"type": "string", "enum": [word]}},
        "required": ["word"],
    }
    return chat(peer, f"Answer with the word {word} as JSON.", format=schema)


def _refused(answer: Answer, statuses: tuple[int, ...]) -> None:
    expect(answer.status in statuses, f"status {answer.status}, not {statuses[0]}")
    error = take(answer.json(answer.status), "error", str)
    expect(bool(error), "error is empty")


def _refused_or_plain(answer: Answer, statuses: tuple[int, ...]) -> None:
    """Of an unknown path Ollama's router says so in plain text."""
    if answer.kind == "text/plain" and answer.status == 404 and 404 in statuses:
        expect(b"404" in answer.body, "the text of the 404 does not say so")
    else:
        _refused(answer, statuses)


def _said(body: Any) -> str:
    expect(body.get("done") is True, "done is not true")
    return str(take(body, "message.content", str))


def _stream(answer: Answer) -> list[Any]:
    expect(answer.status == 200, f"status {answer.status}")
    expect(answer.kind == NDJSON, f"content-type is {answer.kind!r}, not {NDJSON!r}")
    found = [parsed(line) for line in answer.lines()]
    expect(len(found) > 0, "the stream has no lines")
    return found


def _ends_once(lines: list[Any]) -> None:
    done = [take(line, "done", bool) for line in lines]
    expect(done[-1] is True, "the last line is not done")
    expect(not any(done[:-1]), "a line before the last is done")


@law("stream", "a chat streams unless told otherwise: NDJSON, of which the last line alone is done")
def _streams(peer: Peer) -> None:
    lines = _stream(peer.post(CHAT, chat(peer, stream=None)))
    _ends_once(lines)
    text = "".join(take(line, "message.content", str) for line in lines)
    expect(bool(text), "the lines make no text")


@law("generate", "generate streams unless told otherwise, and its lines make a text",
     f"{_API}#generate-a-completion")  # fmt: skip
def _generate(peer: Peer) -> None:
    body: dict[str, Any] = {"model": peer.model, "prompt": "Say hello."}
    lines = _stream(peer.post("/api/generate", body))
    _ends_once(lines)
    text = "".join(take(line, "response", str) for line in lines)
    expect(bool(text), "the lines make no text")
    whole = peer.post("/api/generate", body | {"stream": False}).json()
    expect(bool(take(whole, "response", str)), "the response is empty")


@law("answer", "an answer that is not streamed has model, created_at, message and done")
def _answer(peer: Peer) -> None:
    body = peer.post(CHAT, chat(peer)).json()
    take(body, "model", str)
    take(body, "created_at", str)
    expect(take(body, "message.role", str) == "assistant", "the role is not 'assistant'")
    expect(bool(_said(body)), "the content is empty")


@law("done-reason", "what is done says why it ended")
def _done_reason(peer: Peer) -> None:
    for body in (
        peer.post(CHAT, chat(peer)).json(),
        _stream(peer.post(CHAT, chat(peer, stream=True)))[-1],
    ):
        reason = take(body, "done_reason", str)
        expect(reason in _REASONS, f"done_reason is {reason!r}")


@law("counts", "the tokens read and written are counted, above zero")
def _counts(peer: Peer) -> None:
    body = peer.post(CHAT, chat(peer)).json()
    for name in ("prompt_eval_count", "eval_count"):
        expect(take(body, name, int) > 0, f"{name} is not above zero")


@law("durations", "durations are nanoseconds; the total is not less than its parts together")
def _durations(peer: Peer) -> None:
    body = peer.post(CHAT, chat(peer)).json()
    total = take(body, "total_duration", int)
    parts = [take(body, name, int) for name in _PARTS]
    expect(total > 0 and min(parts) >= 0, f"a duration is not above zero: {total}, {parts}")
    expect(sum(parts) <= total, f"the parts take {sum(parts)}, the total {total}")


@law("load", "a request without a prompt loads the model", f"{_API}#load-a-model")
def _load(peer: Peer) -> None:
    body = peer.post("/api/generate", {"model": peer.model}).json()
    expect(take(body, "done", bool), "done is not true")
    expect(take(body, "response", str) == "", "the response is not empty")
    expect(take(body, "done_reason", str) == "load", f"done_reason is {body['done_reason']!r}")
    expect(peer.model in _running(peer), "the model is not in /api/ps after it was loaded")


@law("unload", "keep_alive 0 without a prompt unloads the model", f"{_API}#unload-a-model")
def _unload(peer: Peer) -> None:
    body = peer.post("/api/generate", {"model": peer.model, "keep_alive": 0}).json()
    expect(take(body, "done_reason", str) == "unload", f"done_reason is {body['done_reason']!r}")


def _running(peer: Peer) -> set[str]:
    models = take(peer.ask("GET", "/api/ps").json(), "models", list)
    names = {take(one, "name", str) for one in models}
    return names | {name.removesuffix(":latest") for name in names}


@law("ps", "ps lists what is loaded, with size and expiry", f"{_API}#list-running-models")
def _ps(peer: Peer) -> None:
    peer.post("/api/generate", {"model": peer.model}).json()
    models = take(peer.ask("GET", "/api/ps").json(), "models", list)
    expect(bool(models), "nothing is listed although a model was loaded")
    for one in models:
        take(one, "name", str)
        take(one, "size", int)
        take(one, "expires_at", str)


@law("tags", "tags lists models with name, size, digest and details", f"{_API}#list-local-models")
def _tags(peer: Peer) -> None:
    models = take(peer.ask("GET", "/api/tags").json(), "models", list)
    for one in models:
        for name, kind in (("name", str), ("size", int), ("digest", str), ("details", dict)):
            take(one, name, kind)
    if not models:
        raise NotExercisedError("the server has no models")


@law("show", "show has a model's details and model_info", f"{_API}#show-model-information")
def _show(peer: Peer) -> None:
    body = peer.post("/api/show", {"model": peer.model}).json()
    take(body, "details", dict)
    take(body, "model_info", dict)


@law("version", "version is a text", f"{_API}#version")
def _version(peer: Peer) -> None:
    expect(bool(take(peer.ask("GET", "/api/version").json(), "version", str)), "it is empty")


@law("embed", "embed has one vector an input, all of one length", f"{_API}#generate-embeddings")
def _embed(peer: Peer) -> None:
    asked = {"model": peer.embedder, "input": ["one", "two", "three"]}
    body = allowed(peer.post("/api/embed", asked), "embedding is")
    vectors = [numbers(one, "embedding") for one in take(body, "embeddings", list)]
    expect(len(vectors) == 3, f"{len(vectors)} vectors for 3 inputs")
    expect(len({len(one) for one in vectors}) == 1, "the vectors are not all of one length")


@law("embeddings", "embeddings has one vector for its prompt", f"{_API}#generate-embedding")
def _embeddings(peer: Peer) -> None:
    asked = {"model": peer.embedder, "prompt": "one"}
    numbers(allowed(peer.post("/api/embeddings", asked), "embedding is").get("embedding"), "it")


@law("unknown-model", 'an unknown model is 404 with {"error": text}')
def _unknown_model(peer: Peer) -> None:
    name = {"model": books.UNKNOWN_MODEL}
    for path, body in ((CHAT, chat(peer) | name), ("/api/show", name)):
        _refused(peer.post(path, body), (404,))


@law("missing-field", 'a chat without a model is 400 with {"error": text}')
def _missing(peer: Peer) -> None:
    _refused(peer.post(CHAT, {"messages": []}), (400, 404))


@law("wrong-type", 'messages that are no list are 400 with {"error": text}')
def _wrong_type(peer: Peer) -> None:
    _refused(peer.post(CHAT, {"model": peer.model, "messages": "hello"}), (400,))


@law("format", "an answer satisfies the schema in format", f"{_API}#structured-outputs")
def _format(peer: Peer) -> None:
    asked = chat(peer, "Weather in Oslo, as JSON.", format=books.SCHEMA)
    satisfies(_said(allowed(peer.post(CHAT, asked), "format is")))


@law("tools", "tools are called by tool_calls with an object of arguments")
def _tools(peer: Peer) -> None:
    tool = {"type": "function", "function": {"name": books.TOOL, "parameters": books.WHERE}}
    body = allowed(peer.post(CHAT, chat(peer, books.QUESTION, tools=[tool])), "tools are")
    message = take(body, "message", dict)
    if not message.get("tool_calls"):
        raise NotExercisedError("the model answered without calling the tool")
    call = take(message, "tool_calls.0.function", dict)
    expect(take(call, "name", str) == books.TOOL, "the call is of another tool")
    take(call, "arguments", dict)


@law("head", "HEAD / is 200, by which clients see that it runs",
     "https://github.com/ollama/ollama/blob/main/server/routes.go")  # fmt: skip
def _head(peer: Peer) -> None:
    answer = peer.ask("HEAD", "/")
    expect(answer.status == 200, f"status {answer.status}, not 200")


add_common(
    BOOK,
    Ways(
        path=lambda peer, stream: CHAT,
        body=chat,
        named=_named,
        said=_said,
        refused=_refused_or_plain,
        nowhere="/api/windtunnel-no-such-path",
        wrong_key=(401,),
    ),
)
