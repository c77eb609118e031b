"""Anthropic's older ``POST /v1/complete``: a prompt, and the text that goes on from it.

Source: https://docs.claude.com/en/api/complete, and the types of the anthropic SDK before 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator

from windtunnel.models.dialects.anthropic_checks import body_of, flag, items, need, text, whole
from windtunnel.models.dialects.anthropic_checks import refused as _refused
from windtunnel.models.dialects.anthropic_messages import EVENTS, frame
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    Chunk,
    HttpRequest,
    JsonObject,
    Message,
    ModelCall,
    Reply,
    Response,
)
from windtunnel.models.state import ServerState
from windtunnel.models.tokens import pieces

_HUMAN = "\n\nHuman:"
_ASSISTANT = "\n\nAssistant:"


def parse(request: HttpRequest, state: ServerState) -> ModelCall:
    """Read and validate a request."""
    body = body_of(request)
    model = text(need(body, "model"), "model")
    prompt = text(need(body, "prompt"), "prompt")
    limit = whole(need(body, "max_tokens_to_sample"), "max_tokens_to_sample", 1)
    for index, stop in enumerate(items(body.get("stop_sequences") or [], "stop_sequences")):
        text(stop, f"stop_sequences.{index}")
    if body.get("stream") is not None:
        flag(body["stream"], "stream")
    if not state.models.known(model):
        raise _refused(f"model: {model}", 404, "model_not_found")
    asked = prompt.rpartition(_HUMAN)[2].partition(_ASSISTANT)[0].strip()
    return ModelCall(
        "anthropic",
        "complete",
        model,
        kind="completion",
        messages=(Message("user", asked, raw=prompt),),
        stream=bool(body.get("stream")),
        max_tokens=limit,
        raw=body,
        request=request,
    )


def render(call: ModelCall, reply: Reply, state: ServerState) -> Response:
    """The completion, whole or bit by bit."""
    said = reply.text or reply.refusal
    reason = "max_tokens" if reply.finished == "length" else "stop_sequence"
    made: JsonObject = {
        "type": "completion",
        "id": state.ids.base58("compl_01", 22),
        "model": call.model,
        "stop": None if reason == "max_tokens" else _HUMAN,
    }
    if call.stream:
        return Response(200, _events(made, said, reason), EVENTS)
    return Response(200, dumps(made | {"completion": said, "stop_reason": reason}))


def _events(made: JsonObject, said: str, reason: str) -> Iterator[Chunk]:
    yield frame("ping", dumps({"type": "ping"}))
    for piece in pieces(said):
        bit = made | {"completion": piece, "stop_reason": None, "stop": None}
        yield frame("completion", dumps(bit), 1)
    yield frame("completion", dumps(made | {"completion": "", "stop_reason": reason}))
