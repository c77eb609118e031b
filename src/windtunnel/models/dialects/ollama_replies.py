"""Ollama's replies: one JSON object, or one a line (NDJSON) while the model speaks.

A streamed answer has a line a token, a line for each tool call, and a last line that is empty but
for why it ended and what it took. Durations are nanoseconds; the total is the sum of the others.

Source: https://github.com/ollama/ollama/blob/main/api/types.go (ChatResponse, GenerateResponse,
Metrics, EmbedResponse) and server/routes.go.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from windtunnel.models.dialects import ollama_models as models
from windtunnel.models.dialects.ollama_fields import refuse
from windtunnel.models.dialects.ollama_models import stamp
from windtunnel.models.dialects.ollama_requests import JSON
from windtunnel.models.jsonio import dumps
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
from windtunnel.models.vectors import scaled, vector

NDJSON = "application/x-ndjson"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_DONE = {"length": "length"}

# What one token takes, and what loading takes, in nanoseconds; of the order of a laptop's.
_READ_NS = 1_214_000
_WRITE_NS = 11_863_000
_LOAD_NS = 1_048_576_000
_LOADED_NS = 18_734_000


def chat(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The answer to ``/api/chat``."""
    _check_thinking(call, reply)
    end: JsonObject = {"done_reason": _DONE.get(reply.finished, "stop")}
    end |= _metrics(call, usage, state)
    if call.stream:
        return Response(200, _chat_lines(call, reply, end, state), NDJSON)
    message: JsonObject = {"role": "assistant", "content": _text(reply)}
    if thinking := _thinking(call, reply):
        message["thinking"] = thinking
    if reply.tool_calls:
        message["tool_calls"] = _tool_calls(reply.tool_calls, state)
    body: JsonObject = {"model": call.model, "created_at": stamp(state.ids.time())}
    body |= {"message": message, "done": True} | end
    if call.options["logprobs"]:
        body["logprobs"] = [_logprob(piece, call) for piece in pieces(_text(reply))]
    return Response(200, dumps(body | dict(reply.extra)), JSON)


def generate(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The answer to ``/api/generate``."""
    _check_thinking(call, reply)
    end: JsonObject = {"done_reason": _DONE.get(reply.finished, "stop")}
    if not call.options["raw"]:
        end["context"] = [*call.options["context"], *_token_ids(call.prompt + _text(reply))]
    end |= _metrics(call, usage, state)
    if call.stream:
        return Response(200, _generate_lines(call, reply, end, state), NDJSON)
    body: JsonObject = {"model": call.model, "created_at": stamp(state.ids.time())}
    body["response"] = _text(reply)
    if thinking := _thinking(call, reply):
        body["thinking"] = thinking
    body |= {"done": True} | end
    if call.options["logprobs"]:
        body["logprobs"] = [_logprob(piece, call) for piece in pieces(_text(reply))]
    return Response(200, dumps(body | dict(reply.extra)), JSON)


def embed(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The answer to ``/api/embed`` and ``/api/embeddings``."""
    vectors = _vectors(call, reply, state)
    if call.endpoint == "embeddings":
        return Response(200, dumps({"embedding": vectors[0]}), JSON)
    shorter = call.options["shorter"]
    if shorter:
        vectors = [scaled(one[:shorter]) for one in vectors]
    read = max(usage.input_tokens, 1)
    load = _load_ns(call, state)
    body = {
        "model": call.model,
        "embeddings": vectors,
        "total_duration": load + read * _READ_NS,
        "load_duration": load,
        "prompt_eval_count": read,
    }
    return Response(200, dumps(body | dict(reply.extra)), JSON)


def _vectors(call: ModelCall, reply: Reply, state: ServerState) -> list[list[float]]:
    if reply.embeddings:
        given = [list(one) for one in reply.embeddings]
        return [given[index % len(given)] for index in range(len(call.inputs))]
    size, seed = call.options["dimensions"], state.seed.value
    return [vector(text, size, seed) for text in call.inputs]


# -- streams --------------------------------------------------------------------------------------


def _chat_lines(
    call: ModelCall, reply: Reply, end: JsonObject, state: ServerState
) -> Iterator[Chunk]:
    head = b'{"model":%b,"created_at":"' % dumps(call.model)
    middle = b'","message":{"role":"assistant",%b},"done":false}\n'
    now = state.ids.time
    for piece in pieces(_thinking(call, reply)):
        said = b'"content":"","thinking":' + dumps(piece)
        yield Chunk(head + stamp(now()).encode() + middle % said, 1, "thinking")
    if call.options["logprobs"]:
        for piece in reply.pieces or pieces(_text(reply)):
            said = b'"content":' + dumps(piece)
            probability = b',"logprobs":[%b]}\n' % dumps(_logprob(piece, call))
            line = (head + stamp(now()).encode() + middle % said)[:-2] + probability
            yield Chunk(line, 1, "content")
    else:
        for piece in reply.pieces or pieces(_text(reply)):
            said = b'"content":' + dumps(piece)
            yield Chunk(head + stamp(now()).encode() + middle % said, 1, "content")
    for used in _tool_calls(reply.tool_calls, state):
        said = b'"content":"","tool_calls":[%b]' % dumps(used)
        tokens = state.count(str(used["function"]["arguments"]))
        yield Chunk(head + stamp(now()).encode() + middle % said, tokens, "tool_calls")
    last: JsonObject = {"model": call.model, "created_at": stamp(now())}
    last |= {"message": {"role": "assistant", "content": ""}, "done": True} | end
    yield Chunk(dumps(last | dict(reply.extra)) + b"\n", 0, "done")


def _generate_lines(
    call: ModelCall, reply: Reply, end: JsonObject, state: ServerState
) -> Iterator[Chunk]:
    head = b'{"model":%b,"created_at":"' % dumps(call.model)
    now = state.ids.time
    for piece in pieces(_thinking(call, reply)):
        rest = b'","response":"","thinking":%b,"done":false}\n' % dumps(piece)
        yield Chunk(head + stamp(now()).encode() + rest, 1, "thinking")
    for piece in reply.pieces or pieces(_text(reply)):
        rest = b'","response":%b,"done":false' % dumps(piece)
        if call.options["logprobs"]:
            rest += b',"logprobs":[%b]' % dumps(_logprob(piece, call))
        yield Chunk(head + stamp(now()).encode() + rest + b"}\n", 1, "content")
    last: JsonObject = {"model": call.model, "created_at": stamp(now()), "response": ""}
    last |= {"done": True} | end
    yield Chunk(dumps(last | dict(reply.extra)) + b"\n", 0, "done")


# -- parts ----------------------------------------------------------------------------------------


def _check_thinking(call: ModelCall, reply: Reply) -> None:
    """A model that is known not to think is not made to, unless its script has it think."""
    if call.options["think"] and not call.options["thinks"] and not reply.thinking:
        refuse(f'"{call.model}" does not support thinking')


def _thinking(call: ModelCall, reply: Reply) -> str:
    return "" if call.options["think"] is False else reply.thinking


def _text(reply: Reply) -> str:
    return reply.text or reply.refusal


def _tool_calls(used: tuple[ToolCall, ...], state: ServerState) -> list[JsonObject]:
    return [
        {
            "id": call.id or _call_id(state),
            "function": {
                "index": index,
                "name": call.name,
                "arguments": dict(call.arguments),
            },
        }
        for index, call in enumerate(used)
    ]


def _call_id(state: ServerState) -> str:
    drawn = bytes.fromhex(state.ids.hex("", 16))
    return "call_" + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in drawn)


def _load_ns(call: ModelCall, state: ServerState) -> int:
    """How long it took to have the model in memory, where it now stays for a while."""
    entry = models.wanted(call.model, state)
    return _LOAD_NS if models.load(entry, state, call.options["keep"]) else _LOADED_NS


def _metrics(call: ModelCall, usage: Usage, state: ServerState) -> JsonObject:
    read, written = max(usage.input_tokens, 1), max(usage.output_tokens, 1)
    load = _load_ns(call, state)
    return {
        "total_duration": load + read * _READ_NS + written * _WRITE_NS,
        "load_duration": load,
        "prompt_eval_count": read,
        "prompt_eval_duration": read * _READ_NS,
        "eval_count": written,
        "eval_duration": written * _WRITE_NS,
    }


def _token_ids(text: str) -> list[int]:
    return [zlib.crc32(piece.encode("utf-8", "replace")) % 128_256 for piece in pieces(text)]


def _logprob(piece: str, call: ModelCall) -> JsonObject:
    share = zlib.crc32(piece.encode("utf-8", "replace")) / 2**32
    first: JsonObject = _token(piece, -0.5 * share)
    others = [_token(f"{piece}{index}", -0.7 * (index + 1 + share)) for index in range(1, 21)]
    wanted = call.options["top_logprobs"]
    if wanted:
        return first | {"top_logprobs": [dict(first), *others[: wanted - 1]]}
    return first


def _token(piece: str, logprob: float) -> JsonObject:
    data = piece.encode("utf-8", "replace")
    return {"token": piece, "logprob": round(logprob, 6), "bytes": list(data)}
