"""Gemini's answers: whole, as server-sent events, or as the parts of one JSON array.

Source: https://ai.google.dev/api/generate-content (GenerateContentResponse, UsageMetadata).
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from windtunnel.models.jsonio import dumps, loads
from windtunnel.models.protocol import (
    Chunk,
    JsonObject,
    ModelCall,
    Reply,
    Response,
    ToolCall,
    Usage,
)
from windtunnel.models.state import ServerState
from windtunnel.models.tokens import pieces
from windtunnel.models.vectors import vector

JSON = "application/json; charset=UTF-8"
EVENTS = "text/event-stream"
_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "PROHIBITED_CONTENT",
}
_SIZES = {"text-embedding-004": 768, "text-embedding-005": 768, "embedding-001": 768}
_USUAL_SIZE = 3072


def render(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The answer to ``generateContent`` and ``streamGenerateContent``."""
    answers = _answers(call, reply)
    told = {"modelVersion": call.model, "responseId": state.ids.alnum("", 22)}
    if call.stream:
        bodies = _bodies(call, answers, usage, told, reply, state)
        if call.options["sse"]:
            return Response(200, _events(bodies), EVENTS)
        return Response(200, _array(bodies), JSON)
    candidates = []
    for index, answer in enumerate(answers):
        parts = _parts(call, answer, state)
        candidate: JsonObject = {"content": {"parts": parts, "role": "model"}}
        candidate |= {"finishReason": _REASONS[answer.finished], "index": index}
        if call.options["logprobs"]:
            candidate |= _logprobs(pieces(_text(answer)), call.options["top_logprobs"])
        candidates.append(candidate)
    body = {"candidates": candidates, "usageMetadata": _usage(usage)} | told
    return Response(200, dumps(body | dict(reply.extra)), JSON)


def counted(tokens: int) -> Response:
    """The answer to ``countTokens``."""
    details = [{"modality": "TEXT", "tokenCount": tokens}]
    return Response(200, dumps({"totalTokens": tokens, "promptTokensDetails": details}), JSON)


def embed(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The answer to ``embedContent`` and ``batchEmbedContents``."""
    embeddings = [{"values": values} for values in _vectors(call, reply, state)]
    spent = max(usage.input_tokens, 1)
    told = {"usageMetadata": {"promptTokenCount": spent, "totalTokenCount": spent}}
    if call.endpoint == "embedContent":
        return Response(200, dumps({"embedding": embeddings[0]} | told), JSON)
    return Response(200, dumps({"embeddings": embeddings} | told), JSON)


def _vectors(call: ModelCall, reply: Reply, state: ServerState) -> list[list[float]]:
    usual = _SIZES.get(call.model, _USUAL_SIZE)
    sizes = call.options["sizes"]
    if reply.embeddings:
        given = [list(one) for one in reply.embeddings]
        chosen = [given[index % len(given)] for index in range(len(call.inputs))]
        return [one[:size] if size else one for one, size in zip(chosen, sizes, strict=True)]
    seed = state.seed.value
    return [
        vector(text, size or usual, seed) for text, size in zip(call.inputs, sizes, strict=True)
    ]


# -- parts ----------------------------------------------------------------------------------------


def _answers(call: ModelCall, reply: Reply) -> list[Reply]:
    """One answer a candidate, each cut at the first stop sequence in its text."""
    given = [reply, *reply.choices]
    answers = [given[index] if index < len(given) else reply for index in range(call.n)]
    return [_cut(answer, call.options["stop_sequences"]) for answer in answers]


def _cut(reply: Reply, stops: Sequence[str]) -> Reply:
    found = [at for stop in stops if (at := reply.text.find(stop)) >= 0]
    if not found or reply.finish is not None:
        return reply
    return Reply(reply.text[: min(found)], reply.thinking, extra=reply.extra)


def _text(reply: Reply) -> str:
    return reply.text or reply.refusal


def _parts(call: ModelCall, reply: Reply, state: ServerState) -> list[JsonObject]:
    parts: list[JsonObject] = []
    if reply.thinking and call.options["thoughts"]:
        parts.append({"text": reply.thinking, "thought": True})
    text = _shown(call, reply)
    if text or not reply.tool_calls:
        parts.append({"text": text})
    parts += _function_calls(call, reply, state)
    return parts


def _shown(call: ModelCall, reply: Reply) -> str:
    """The text; a value of an enumeration without its quotes."""
    text = _text(reply)
    if call.options["enum"] and text[:1] == '"':
        try:
            value = loads(text)
        except ValueError:
            return text
        return value if isinstance(value, str) else text
    return text


def _function_calls(call: ModelCall, reply: Reply, state: ServerState) -> list[JsonObject]:
    parts: list[JsonObject] = []
    for index, used in enumerate(reply.tool_calls):
        part: JsonObject = {"functionCall": _function_call(used)}
        if index == 0 and reply.thinking:
            part["thoughtSignature"] = _signature(reply.thinking, state)
        parts.append(part)
    return parts


def _function_call(used: ToolCall) -> JsonObject:
    called: JsonObject = {"name": used.name, "args": dict(used.arguments)}
    return called | {"id": used.id} if used.id else called


def _signature(thinking: str, state: ServerState) -> str:
    data = f"{state.seed.value}/{thinking}".encode("utf-8", "replace")
    return base64.b64encode(hashlib.blake2b(data).digest()).decode()


def _usage(usage: Usage, written: int | None = None) -> JsonObject:
    read = max(usage.input_tokens, 1)
    thought = usage.reasoning_tokens
    said = max(usage.output_tokens - thought, 1) if written is None else written
    spent: JsonObject = {
        "promptTokenCount": read,
        "candidatesTokenCount": said,
        "totalTokenCount": read + said + thought,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": read}],
    }
    if usage.cached_tokens:
        spent["cachedContentTokenCount"] = usage.cached_tokens
        spent["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.cached_tokens}]
    if thought:
        spent["thoughtsTokenCount"] = thought
    return spent


def _logprobs(said: Sequence[str], top: int) -> JsonObject:
    chosen = [_candidate(piece, 0) for piece in said]
    result: JsonObject = {"chosenCandidates": chosen}
    if top:
        result["topCandidates"] = [
            {"candidates": [_candidate(piece, rank) for rank in range(top)]} for piece in said
        ]
    average = sum(one["logProbability"] for one in chosen) / max(len(chosen), 1)
    return {"avgLogprobs": round(average, 6), "logprobsResult": result}


def _candidate(piece: str, rank: int) -> JsonObject:
    drawn = zlib.crc32(piece.encode("utf-8", "replace"))
    token = piece if rank == 0 else f"{piece}{rank}"
    value = -0.5 * (drawn / 2**32) - 0.7 * rank
    return {"token": token, "tokenId": drawn % 256_000 + rank, "logProbability": round(value, 6)}


# -- streams --------------------------------------------------------------------------------------


def _bodies(
    call: ModelCall,
    answers: Sequence[Reply],
    usage: Usage,
    told: JsonObject,
    reply: Reply,
    state: ServerState,
) -> Iterator[tuple[JsonObject, int]]:
    """What is said bit by bit, each a whole response; the last of a candidate says why it ended,
    the last of all what all took."""
    written = 0
    steps = [
        (index, part, part is parts[-1])
        for index, answer in enumerate(answers)
        for parts in [_bits(call, answer, state)]
        for part in parts
    ]
    for number, (index, part, last) in enumerate(steps):
        candidate: JsonObject = {"content": {"parts": [part], "role": "model"}, "index": index}
        if last:
            candidate["finishReason"] = _REASONS[answers[index].finished]
        tokens = 1 if part.get("text") else state.count(str(part.get("functionCall", "")))
        written += 0 if part.get("thought") else tokens
        whole = number == len(steps) - 1
        spent = _usage(usage, None if whole else written)
        extra = dict(reply.extra) if whole else {}
        yield {"candidates": [candidate], "usageMetadata": spent} | told | extra, tokens


def _bits(call: ModelCall, reply: Reply, state: ServerState) -> list[JsonObject]:
    bits: list[JsonObject] = []
    if reply.thinking and call.options["thoughts"]:
        bits += [{"text": piece, "thought": True} for piece in pieces(reply.thinking)]
    shown = _shown(call, reply)
    cut = reply.pieces if "".join(reply.pieces) == shown else ()
    bits += [{"text": piece} for piece in (cut or pieces(shown))]
    bits += _function_calls(call, reply, state)
    return bits or [{"text": ""}]


def _events(bodies: Iterator[tuple[JsonObject, int]]) -> Iterator[Chunk]:
    for body, tokens in bodies:
        yield Chunk(b"data: %b\r\n\r\n" % dumps(body), tokens, "data")


def _array(bodies: Iterator[tuple[JsonObject, int]]) -> Iterator[Chunk]:
    before = b"["
    for body, tokens in bodies:
        yield Chunk(before + dumps(body), tokens, "data")
        before = b",\r\n"
    yield Chunk(b"]", 0, "end")


def error_frame(body: Any, *, sse: bool) -> bytes:
    """An error in the midst of a stream."""
    if sse:
        return b"data: %b\r\n\r\n" % dumps(body)
    return b",\r\n%b]" % dumps(body)
