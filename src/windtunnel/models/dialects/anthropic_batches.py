"""Anthropic's message batches, kept in memory.

A batch is in progress when it is made. Its requests are answered, by the scripts as if each had
been sent by itself, when the batch is next looked at; from then on it has ended.

Source: https://docs.claude.com/en/api/creating-message-batches.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from windtunnel.models.dialects.anthropic_checks import body_of, items, need, refuse, refused, text
from windtunnel.models.dialects.anthropic_models import page, stamp
from windtunnel.models.jsonio import dumps, loads
from windtunnel.models.protocol import HttpRequest, JsonObject, RefusedError, Response
from windtunnel.models.state import ServerState

_STORE = "anthropic/batches"
_EXAMPLE = "message_batch_id"  # as the API's description and the suites made from it name one
_DAY_S = 86_400
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


def create(request: HttpRequest, state: ServerState) -> Response:
    """``POST /v1/messages/batches``."""
    body = body_of(request)
    wanted = items(need(body, "requests"), "requests")
    if not wanted:
        raise refused("requests: List should have at least 1 item after validation, not 0")
    seen: set[str] = set()
    for index, one in enumerate(wanted):
        path = f"requests.{index}"
        if not isinstance(one, dict):
            refuse(path, "Input should be a valid dictionary")
        name = text(need(one, "custom_id", f"{path}."), f"{path}.custom_id")
        if not 1 <= len(name) <= 64:
            refuse(f"{path}.custom_id", "String should have at most 64 characters")
        if name in seen:
            refuse("requests", f"custom_id must be unique within a batch, found duplicate: {name}")
        seen.add(name)
        if not isinstance(need(one, "params", f"{path}."), dict):
            refuse(f"{path}.params", "Input should be a valid dictionary")
    batch = _new(state.ids.base58("msgbatch_01", 22), wanted, state)
    state.store(_STORE)[batch["id"]] = batch
    return _shown(batch, request)


def _new(name: str, wanted: list[Any], state: ServerState) -> JsonObject:
    return {
        "id": name,
        "requests": wanted,
        "results": None,
        "created": state.ids.time(),
        "cancelled": None,
        "ended": None,
    }


def listed(request: HttpRequest, state: ServerState) -> Response:
    """``GET /v1/messages/batches``, the newest first."""
    batches = list(state.store(_STORE).values())[::-1]
    for batch in batches:
        _settle(batch, request, state)
    return Response(200, dumps(page([_card(batch, request) for batch in batches], request)))


def retrieved(name: str, request: HttpRequest, state: ServerState) -> Response:
    """``GET /v1/messages/batches/{id}``."""
    batch = _stored(name, state)
    _settle(batch, request, state)
    return _shown(batch, request)


def cancelled(name: str, request: HttpRequest, state: ServerState) -> Response:
    """``POST /v1/messages/batches/{id}/cancel``."""
    batch = _stored(name, state)
    if batch["ended"] is not None and name != _EXAMPLE:
        raise refused(f"Batch {name} cannot be canceled because it has already ended.")
    if batch["cancelled"] is None:
        batch["cancelled"] = state.ids.time()
    return _shown(batch, request)


def deleted(name: str, state: ServerState) -> Response:
    """``DELETE /v1/messages/batches/{id}``."""
    batch = _stored(name, state)
    if batch["ended"] is None and name != _EXAMPLE:
        raise refused(
            f"Batch {name} is currently being processed, and cannot be deleted until it has ended."
        )
    state.store(_STORE).pop(name, None)
    return Response(200, dumps({"id": name, "type": "message_batch_deleted"}))


def results(name: str, request: HttpRequest, state: ServerState) -> Response:
    """``GET /v1/messages/batches/{id}/results``: a JSON line for each request."""
    batch = _stored(name, state)
    if batch["ended"] is None and name != _EXAMPLE:
        raise refused(f"Batch {name} is not finished processing, so its results are not available.")
    _settle(batch, request, state)
    lines = (dumps(result) + b"\n" for result in batch["results"])
    return Response(200, b"".join(lines), "application/x-jsonl")


# -- how a batch goes on ---------------------------------------------------------------------------


def _stored(name: str, state: ServerState) -> JsonObject:
    batch: JsonObject | None = state.store(_STORE).get(name)
    if batch is not None:
        return batch
    if name == _EXAMPLE:
        wanted = [{"custom_id": "my-custom-id-1", "params": {}}]
        example = _new(name, wanted, state)
        example["cancelled"] = state.ids.time()
        return example
    raise refused(f"No message batch found with id: {name}", 404, "not_found")


def _settle(batch: JsonObject, request: HttpRequest, state: ServerState) -> None:
    """Answer what the batch wants, or cancel it."""
    if batch["ended"] is not None:
        return
    answered = []
    for one in batch["requests"]:
        result = {"type": "canceled"} if batch["cancelled"] else _result(one, request, state)
        answered.append({"custom_id": one["custom_id"], "result": result})
    batch["results"], batch["ended"] = answered, state.ids.time()


def _result(one: JsonObject, request: HttpRequest, state: ServerState) -> JsonObject:
    body = dumps({**one["params"], "stream": False})
    kept = ("x-api-key", "authorization", "anthropic-version", "host", "x-windtunnel-namespace")
    headers = tuple(pair for pair in request.headers if pair[0] in kept)
    try:
        response = state.serve(HttpRequest("POST", "/v1/messages", headers=headers, body=body))
    except RefusedError as error:
        failure = {"type": "api_error", "message": error.error.message}
        return {"type": "errored", "error": {"type": "error", "error": failure}}
    answer = loads(response.body if isinstance(response.body, bytes) else b"{}")
    if response.status == 200:
        answer["usage"]["service_tier"] = "batch"
        return {"type": "succeeded", "message": answer}
    return {"type": "errored", "error": answer}


# -- what is shown of it ---------------------------------------------------------------------------


def _shown(batch: JsonObject, request: HttpRequest) -> Response:
    return Response(200, dumps(_card(batch, request)))


def _card(batch: JsonObject, request: HttpRequest) -> JsonObject:
    ended = batch["ended"] is not None
    counts = dict.fromkeys(_COUNTS, 0)
    for result in batch["results"] or ():
        counts[result["result"]["type"]] += 1
    if not ended:
        counts["processing"] = len(batch["requests"])
    running = "canceling" if batch["cancelled"] else "in_progress"
    return {
        "id": batch["id"],
        "type": "message_batch",
        "processing_status": "ended" if ended else running,
        "request_counts": counts,
        "ended_at": stamp(batch["ended"]) if ended else None,
        "created_at": stamp(batch["created"]),
        "expires_at": stamp(batch["created"] + _DAY_S),
        "archived_at": None,
        "cancel_initiated_at": stamp(batch["cancelled"]) if batch["cancelled"] else None,
        "results_url": _url(batch["id"], request) if ended else None,
    }


def _url(name: str, request: HttpRequest) -> str:
    host = request.header("host", "api.anthropic.com")
    scheme = "https" if urlsplit(f"//{host}").hostname == "api.anthropic.com" else "http"
    prefix = "/anthropic" if request.path.startswith("/anthropic/") else ""
    return f"{scheme}://{host}{prefix}/v1/messages/batches/{name}/results"
