"""Laws of Gemini's API."""

from __future__ import annotations

from typing import Any

from windtunnel.models.laws import book as books
from windtunnel.models.laws.book import Book, Ways, add_common, allowed, numbers, satisfies
from windtunnel.models.laws.peer import Answer, NotExercisedError, Peer, expect, parsed, take

_API = "https://ai.google.dev/api"
BOOK = Book("gemini", f"{_API}/generate-content")
law = BOOK.law
_ERRORS = "https://ai.google.dev/gemini-api/docs/troubleshooting"
_REASONS = {"STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER"}


def choose(peer: Peer) -> None:
    """Name the models that are asked, where nobody did: from the server's list."""
    answer = peer.ask("GET", "/v1beta/models")
    listed = parsed(answer.body) if answer.status == 200 else {}
    data = listed.get("models") if isinstance(listed, dict) else None
    able: dict[str, list[str]] = {}
    for one in data or ():
        for method in one.get("supportedGenerationMethods") or ():
            able.setdefault(method, []).append(str(one["name"]).removeprefix("models/"))
    peer.model = peer.model or next(iter(able.get("generateContent", ())), "gemini-2.5-flash")
    peer.embedder = peer.embedder or next(iter(able.get("embedContent", ())), peer.model)


def chat(peer: Peer, text: str = "Say hello.", stream: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a request for content; whether it streams stands in its path."""
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


def _path(peer: Peer, stream: bool = False, model: str = "") -> str:
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{model or peer.model}:{verb}"


def _shaped(peer: Peer, text: str, properties: Any) -> dict[str, Any]:
    schema = {"type": "OBJECT", "properties": properties, "required": list(properties)}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    return chat(peer, text, generationConfig=config)


def _named(peer: Peer, word: str) -> dict[str, Any]:
    text = f"Answer with the word {word} as JSON."
    return _shaped(peer, text, {"word": {"type": "STRING", "enum": [word]}})


def _refused(answer: Answer, statuses: tuple[int, ...]) -> None:
    expect(answer.status in statuses, f"status {answer.status}, not {statuses[0]}")
    body = answer.json(answer.status)
    code = take(body, "error.code", int)
    expect(code == answer.status, f"error.code is {code}, the status {answer.status}")
    expect(bool(take(body, "error.message", str)), "error.message is empty")
    take(body, "error.status", str)


def _parts(body: Any) -> list[Any]:
    return list(take(body, "candidates.0.content.parts", list))


def _said(body: Any) -> str:
    return "".join(str(part.get("text", "")) for part in _parts(body))


@law("models", "listed models have name and supportedGenerationMethods", f"{_API}/models")
def _models(peer: Peer) -> None:
    for one in take(peer.ask("GET", "/v1beta/models").json(), "models", list):
        expect(take(one, "name", str).startswith("models/"), "a name does not begin with models/")
        take(one, "supportedGenerationMethods", list)


@law("answer", "an answer has candidates with content, role and finishReason")
def _answer(peer: Peer) -> None:
    body = peer.post(_path(peer), chat(peer)).json()
    expect(bool(_said(body)), "the parts make no text")
    expect(take(body, "candidates.0.content.role", str) == "model", "the role is not 'model'")
    reason = take(body, "candidates.0.finishReason", str)
    expect(reason in _REASONS, f"finishReason is {reason!r}")


@law("usage", "usageMetadata counts above zero and adds up")
def _usage(peer: Peer) -> None:
    usage = take(peer.post(_path(peer), chat(peer)).json(), "usageMetadata", dict)
    read, written = take(usage, "promptTokenCount", int), take(usage, "candidatesTokenCount", int)
    total = take(usage, "totalTokenCount", int)
    expect(read > 0 and written > 0, f"a count of tokens is not above zero: {usage}")
    known = read + written + usage.get("thoughtsTokenCount", 0)
    known += usage.get("toolUsePromptTokenCount", 0)
    expect(known == total, f"the parts make {known}, totalTokenCount is {total}")


@law("stream", "a stream of alt=sse makes a text, and its last event alone has a finishReason")
def _stream(peer: Peer) -> None:
    events = peer.post(_path(peer, True), chat(peer)).events()
    found = [parsed(data) for _, data in events]
    expect(bool(found), "the stream has no events")
    text = "".join(_said(one) for one in found if "content" in take(one, "candidates.0", dict))
    expect(bool(text), "the events make no text")
    ends = [bool(take(one, "candidates.0", dict).get("finishReason")) for one in found]
    expect(ends[-1], "the last event has no finishReason")
    expect(not any(ends[:-1]), "an event before the last has a finishReason")


@law("tools", "tools are called by functionCall parts with name and an object of args")
def _tools(peer: Peer) -> None:
    where = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
    declared = {"functionDeclarations": [{"name": books.TOOL, "parameters": where}]}
    config = {"functionCallingConfig": {"mode": "ANY"}}
    asked = chat(peer, books.QUESTION, tools=[declared], toolConfig=config)
    body = allowed(peer.post(_path(peer), asked), "tools are")
    calls = [part["functionCall"] for part in _parts(body) if "functionCall" in part]
    if not calls:
        raise NotExercisedError("the model answered without calling the tool")
    expect(take(calls[0], "name", str) == books.TOOL, "the call is of another tool")
    take(calls[0], "args", dict)


@law("json-schema", "an answer satisfies the responseSchema",
     "https://ai.google.dev/gemini-api/docs/structured-output")  # fmt: skip
def _json_schema(peer: Peer) -> None:
    wanted = {"city": {"type": "STRING"}, "degrees": {"type": "INTEGER"}}
    asked = _shaped(peer, "Weather in Oslo, as JSON.", wanted)
    satisfies(_said(allowed(peer.post(_path(peer), asked), "responseSchema is")))


@law("count-tokens", "countTokens counts above zero", f"{_API}/tokens")
def _count(peer: Peer) -> None:
    path = f"/v1beta/models/{peer.model}:countTokens"
    body = allowed(peer.post(path, chat(peer)), "counting is")
    expect(take(body, "totalTokens", int) > 0, "totalTokens is not above zero")


@law("embed", "embedContent has one vector", f"{_API}/embeddings")
def _embed(peer: Peer) -> None:
    path = f"/v1beta/models/{peer.embedder}:embedContent"
    body = allowed(peer.post(path, {"content": {"parts": [{"text": "one"}]}}), "embedding is")
    numbers(take(body, "embedding.values", list), "embedding.values")


@law("unknown-model", "an unknown model is 404 in the API's error shape", _ERRORS)
def _unknown_model(peer: Peer) -> None:
    answer = peer.post(_path(peer, model=books.UNKNOWN_MODEL), chat(peer))
    if answer.status == 200:
        raise NotExercisedError("the server takes any model's name")
    _refused(answer, (404,))


@law("missing-field", "a request without contents is 400 in the API's error shape", _ERRORS)
def _missing(peer: Peer) -> None:
    _refused(peer.post(_path(peer), {}), (400,))


@law("wrong-type", "contents that are a text are 400 in the API's error shape", _ERRORS)
def _wrong_type(peer: Peer) -> None:
    _refused(peer.post(_path(peer), {"contents": "hello"}), (400,))


add_common(
    BOOK,
    Ways(
        path=_path,
        body=chat,
        named=_named,
        said=_said,
        refused=_refused,
        nowhere="/v1beta/windtunnel-no-such-path",
        wrong_key=(400, 401, 403),
    ),
)
