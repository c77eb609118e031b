"""Responses that were stored: asked for, listed, cancelled, deleted, compacted, counted.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import dataclasses

from windtunnel.models.dialects.openai_chat_reply import STREAM
from windtunnel.models.dialects.openai_chat_request import check_model
from windtunnel.models.dialects.openai_examples import EXAMPLES, page, query_of
from windtunnel.models.dialects.openai_fields import body_of, missing, not_found, refuse
from windtunnel.models.dialects.openai_items import read_items
from windtunnel.models.dialects.openai_responses_events import events
from windtunnel.models.dialects.openai_responses_reply import queued, response_object
from windtunnel.models.dialects.openai_responses_request import (
    USUAL_MODEL,
    Record,
    check_compact,
    parse_counted,
    read_call,
)
from windtunnel.models.dialects.openai_tokens import response_usage
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import HttpRequest, Params, Reply, Response, Usage
from windtunnel.models.state import ServerState
from windtunnel.models.tokens import usage_of


def _record(params: Params, state: ServerState) -> Record:
    named = params["response_id"]
    record = state.store("openai.responses").get(named)
    if record is not None:
        found: Record = record
        return found
    if named in EXAMPLES:
        return _example(named, state)
    raise not_found(f"Response with id '{named}' not found.")


def _example(named: str, state: ServerState) -> Record:
    body = {"model": USUAL_MODEL, "input": "Tell me a story.", "background": True}
    call = read_call(body, HttpRequest("POST", "/v1/responses"), state)
    made = response_object(call, Reply("Once upon a time."), Usage(8, 5), state) | {"id": named}
    return Record(made, call.options["items"], call.options["context"], background=True)


def retrieve(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/responses/{response_id}``. One made in the background is done by now."""
    record = _record(params, state)
    record.background = False
    query = query_of(request)
    if query.get("stream") == "true":
        written = query.get("starting_after", "-1")
        after = int(written) if written.lstrip("-").isdecimal() else -1
        options = {"include_obfuscation": query.get("include_obfuscation") != "false"}
        frames = events(record.response, None, {"stream_options": options}, [0], after)
        return Response(200, frames, STREAM)
    return Response(200, dumps(record.response))


def delete(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``DELETE /v1/responses/{response_id}``."""
    named = params["response_id"]
    _record(params, state)
    state.store("openai.responses").pop(named, None)
    return Response(200, dumps({"id": named, "object": "response", "deleted": True}))


def cancel(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/responses/{response_id}/cancel``, for one in the background that nobody has
    seen done yet."""
    record = _record(params, state)
    if not record.response["background"]:
        refuse("Cannot cancel a synchronous response.")
    if record.background:
        record.background = False
        record.response = queued(record.response) | {"status": "cancelled"}
    return Response(200, dumps(record.response))


def input_items(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/responses/{response_id}/input_items``."""
    return Response(200, dumps(page(_record(params, state).input, request)))


def input_tokens(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/responses/input_tokens``: what a request would cost."""
    call = parse_counted(request, state)
    read = usage_of(call, Reply()).input_tokens
    return Response(200, dumps({"object": "response.input_tokens", "input_tokens": read}))


def compact(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/responses/compact``: a conversation, made one opaque item."""
    body = body_of(request)
    if "model" not in body:
        missing("model")
    check_compact(body, "")
    check_model(body["model"], state)
    given = body.get("input")
    items = [] if isinstance(given, str) and given in EXAMPLES else read_items(given, state)
    kept = [item for item in items if _of_user(item)]
    call = read_call({**body, "input": given or ""}, request, state)
    usage = dataclasses.replace(usage_of(call, Reply()), output_tokens=32)
    opaque = {
        "id": state.ids.hex("cmp_", 50),
        "type": "compaction",
        "encrypted_content": state.ids.alnum("gAAAAA", 120),
    }
    made = {
        "id": state.ids.hex("resp_", 50),
        "object": "response.compaction",
        "created_at": state.ids.now(),
        "output": [*kept, opaque],
        "usage": response_usage(usage),
    }
    return Response(200, dumps(made))


def _of_user(item: dict[str, object]) -> bool:
    return item["type"] == "message" and item.get("role") == "user"
