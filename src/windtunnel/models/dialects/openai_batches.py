"""Batches, worked on in memory when they are first asked for.

A new batch is ``validating``. Whoever looks at it next finds it done: each line of its file has
been answered as if it had come by itself, and the answers are files.

Source: https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import dataclasses
from typing import Any

from windtunnel.models.dialects.openai_examples import EXAMPLES, page
from windtunnel.models.dialects.openai_fields import (
    body_check,
    body_of,
    mapping,
    metadata,
    not_found,
    one_of,
    refuse,
    string,
)
from windtunnel.models.dialects.openai_files import find_file, keep_file
from windtunnel.models.jsonio import dumps, loads
from windtunnel.models.protocol import HttpRequest, JsonObject, Params, Response
from windtunnel.models.state import ServerState

_ENDPOINTS = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)
_DAY = 86_400
_check = body_check(
    {
        "completion_window": one_of("24h"),
        "endpoint": one_of(*_ENDPOINTS),
        "input_file_id": string,
        "metadata": metadata,
        "output_expires_after": mapping,
    },
    ("input_file_id", "endpoint", "completion_window"),
)


@dataclasses.dataclass(slots=True)
class _Batch:
    """A batch, and the head fields that its requests inherit."""

    object: JsonObject
    headers: tuple[tuple[str, str], ...]


def create(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/batches``."""
    body = body_of(request)
    _check(body, "")
    find_file(body["input_file_id"], state)
    made = _object(state.ids.hex("batch_", 32), body, state)
    headers = tuple(
        (name, value) for name, value in request.headers if name in ("authorization", "host")
    )
    state.store("openai.batches")[made["id"]] = _Batch(made, headers)
    return Response(200, dumps(made))


def listed(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/batches``."""
    kept = list(state.store("openai.batches").values())
    for batch in kept:
        _advance(batch, state)
    return Response(200, dumps(page([batch.object for batch in kept], request)))


def retrieve(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/batches/{batch_id}``."""
    batch = _find(params, state)
    _advance(batch, state)
    return Response(200, dumps(batch.object))


def cancel(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/batches/{batch_id}/cancel``, for one that nobody has seen done."""
    batch = _find(params, state)
    made = batch.object
    if made["status"] != "validating":
        refuse(f"Cannot cancel a batch with status '{made['status']}'.")
    made |= {"status": "cancelling", "cancelling_at": state.ids.now()}
    return Response(200, dumps(made))


def _find(params: Params, state: ServerState) -> _Batch:
    named = params["batch_id"]
    found: _Batch | None = state.store("openai.batches").get(named)
    if found is not None:
        return found
    if named in EXAMPLES:
        body = {
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file-abc123",
            "completion_window": "24h",
        }
        return _Batch(_object(named, body, state), ())
    raise not_found(f"No batch found with id '{named}'.")


def _object(named: str, body: JsonObject, state: ServerState) -> JsonObject:
    now = state.ids.now()
    return {
        "id": named,
        "object": "batch",
        "endpoint": body["endpoint"],
        "errors": None,
        "input_file_id": body["input_file_id"],
        "completion_window": body["completion_window"],
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "in_progress_at": None,
        "expires_at": now + _DAY,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": body.get("metadata"),
    }


# -- working --------------------------------------------------------------------------------------


def _advance(batch: _Batch, state: ServerState) -> None:
    made = batch.object
    now = state.ids.now()
    if made["status"] == "cancelling":
        made |= {"status": "cancelled", "cancelled_at": now}
    if made["status"] != "validating" or made["id"] in EXAMPLES:
        return
    lines = find_file(made["input_file_id"], state).content.splitlines()
    requests, errors = _read(lines, made["endpoint"])
    if errors or not requests:
        errors = errors or [_error("empty_file", "The input file is empty.", None)]
        made |= {
            "status": "failed",
            "failed_at": now,
            "errors": {"object": "list", "data": errors},
        }
        return
    done, failed = _work(batch, requests, state)
    made |= {
        "status": "completed",
        "in_progress_at": now,
        "finalizing_at": now,
        "completed_at": now,
        "output_file_id": _written(made["id"], "output", done, state),
        "error_file_id": _written(made["id"], "error", failed, state),
        "request_counts": {
            "total": len(requests),
            "completed": len(done),
            "failed": len(failed),
        },
    }


def _read(lines: list[bytes], endpoint: str) -> tuple[list[JsonObject], list[JsonObject]]:
    requests: list[JsonObject] = []
    errors: list[JsonObject] = []
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            asked: Any = loads(line)
        except (ValueError, RecursionError):
            errors.append(_error("invalid_json_line", "This line is not valid JSON.", number))
            continue
        wrong = _wrong(asked, endpoint, names)
        if wrong is not None:
            errors.append(_error(*wrong, number))
        else:
            names.add(asked["custom_id"])
            requests.append(asked)
    return requests, errors


def _wrong(asked: Any, endpoint: str, names: set[str]) -> tuple[str, str] | None:
    if not isinstance(asked, dict) or not isinstance(asked.get("custom_id"), str):
        return "missing_required_parameter", "This line is missing 'custom_id'."
    if asked["custom_id"] in names:
        return "duplicate_custom_id", f"The custom_id '{asked['custom_id']}' is not unique."
    if asked.get("method") != "POST":
        return "invalid_method", "The method of a request must be 'POST'."
    if asked.get("url") != endpoint:
        return "mismatched_endpoint", f"The url of a request must be the batch's, '{endpoint}'."
    if not isinstance(asked.get("body"), dict):
        return "missing_required_parameter", "This line is missing 'body'."
    return None


def _error(code: str, message: str, line: int | None) -> JsonObject:
    return {"code": code, "message": message, "line": line, "param": None}


def _work(
    batch: _Batch, requests: list[JsonObject], state: ServerState
) -> tuple[list[JsonObject], list[JsonObject]]:
    done: list[JsonObject] = []
    failed: list[JsonObject] = []
    head = (*batch.headers, ("content-type", "application/json"))
    for asked in requests:
        body = dumps({**asked["body"], "stream": False})
        answered = state.serve(HttpRequest("POST", asked["url"], headers=head, body=body))
        assert isinstance(answered.body, bytes)
        line = {
            "id": state.ids.hex("batch_req_", 32),
            "custom_id": asked["custom_id"],
            "response": {
                "status_code": answered.status,
                "request_id": state.ids.hex("", 32),
                "body": loads(answered.body),
            },
            "error": None,
        }
        (done if answered.status < 400 else failed).append(line)
    return done, failed


def _written(named: str, what: str, lines: list[JsonObject], state: ServerState) -> str | None:
    if not lines:
        return None
    content = b"".join(dumps(line) + b"\n" for line in lines)
    kept: str = keep_file(state, f"{named}_{what}.jsonl", content, "batch_output")["id"]
    return kept
