"""Files and uploads in parts, kept in memory.

Source: https://platform.openai.com/docs/api-reference/files and ``.../uploads``
"""

from __future__ import annotations

import dataclasses

from windtunnel.models.dialects.openai_examples import EXAMPLES, page, query_of
from windtunnel.models.dialects.openai_fields import (
    array,
    body_of,
    missing,
    not_found,
    refuse,
    string,
    wrong_value,
)
from windtunnel.models.dialects.openai_forms import Form, Upload, form_of, text_in
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import HttpRequest, JsonObject, Params, Response
from windtunnel.models.state import ServerState

PURPOSES = (
    "fine-tune",
    "assistants",
    "batch",
    "user_data",
    "vision",
    "evals",
)


@dataclasses.dataclass(slots=True)
class File:
    """A file that is kept."""

    object: JsonObject
    content: bytes


@dataclasses.dataclass(slots=True)
class _Parts:
    """An upload and the parts of it that came."""

    object: JsonObject
    parts: dict[str, bytes]


def keep_file(state: ServerState, name: str, content: bytes, purpose: str) -> JsonObject:
    """Keep a file; its object."""
    made: JsonObject = {
        "id": state.ids.alnum("file-", 22),
        "object": "file",
        "bytes": len(content),
        "created_at": state.ids.now(),
        "expires_at": None,
        "filename": name,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }
    state.store("openai.files")[made["id"]] = File(made, content)
    return made


def find_file(named: str, state: ServerState) -> File:
    """A file that is kept.

    :raises RefusedError: where there is none of that identifier.
    """
    found: File | None = state.store("openai.files").get(named)
    if found is not None:
        return found
    if named in EXAMPLES:
        content = b"Example data"
        made = keep_file(state, "mydata.jsonl", content, "fine-tune")
        del state.store("openai.files")[made["id"]]
        return File(made | {"id": named}, content)
    raise not_found(f"No such File object: {named}", "id")


def create(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/files``."""
    form = form_of(request)
    upload = _upload(form, "file")
    purpose = _purpose(form)
    made = keep_file(state, upload.filename, upload.content, purpose)
    made["expires_at"] = _expiry(form, made["created_at"])
    return Response(200, dumps(made))


def listed(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/files``."""
    purpose = query_of(request).get("purpose")
    found = [
        kept.object
        for kept in state.store("openai.files").values()
        if purpose in (None, kept.object["purpose"])
    ]
    return Response(200, dumps(page(found, request, usual=10_000)))


def retrieve(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/files/{file_id}``."""
    return Response(200, dumps(find_file(params["file_id"], state).object))


def delete(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``DELETE /v1/files/{file_id}``."""
    named = find_file(params["file_id"], state).object["id"]
    state.store("openai.files").pop(named, None)
    return Response(200, dumps({"id": named, "object": "file", "deleted": True}))


def content(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/files/{file_id}/content``."""
    found = find_file(params["file_id"], state)
    name = found.object["filename"].replace('"', "")
    headers = (("content-disposition", f'attachment; filename="{name}"'),)
    return Response(200, found.content, "application/octet-stream", headers)


def _upload(form: Form, name: str) -> Upload:
    found = form.get(name)
    if found is None:
        missing(name)
    if not isinstance(found, Upload):
        refuse(f"Invalid type for '{name}': expected a file.", name, "invalid_type")
    return found


def _purpose(form: Form) -> str:
    purpose = text_in(form, "purpose")
    if purpose is None:
        missing("purpose")
    if purpose not in PURPOSES:
        wrong_value(purpose, "purpose", PURPOSES)
    return purpose


def _expiry(form: Form, begun: int) -> int | None:
    asked = form.get("expires_after")
    if not isinstance(asked, dict):
        return None
    seconds = str(asked.get("seconds", ""))
    if asked.get("anchor") != "created_at" or not seconds.isdecimal():
        refuse("Invalid 'expires_after': expected an anchor and seconds.", "expires_after")
    return begun + int(seconds)


# -- uploads --------------------------------------------------------------------------------------


def create_upload(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/uploads``."""
    body = body_of(request)
    for name in ("bytes", "filename", "mime_type", "purpose"):
        if name not in body:
            missing(name)
    made = _upload_object(state.ids.hex("upload_", 32), body, state)
    state.store("openai.uploads")[made["id"]] = _Parts(made, {})
    return Response(200, dumps(made))


def add_part(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/uploads/{upload_id}/parts``."""
    data = _upload(form_of(request), "data")
    kept = _parts(params, state)
    _check_pending(kept)
    named = state.ids.hex("part_", 32)
    kept.parts[named] = data.content
    made = {
        "id": named,
        "object": "upload.part",
        "created_at": state.ids.now(),
        "upload_id": kept.object["id"],
    }
    return Response(200, dumps(made))


def complete_upload(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/uploads/{upload_id}/complete``: the parts in that order are a file."""
    body = body_of(request)
    if "part_ids" not in body:
        missing("part_ids")
    array(string)(body["part_ids"], "part_ids")
    kept = _parts(params, state)
    _check_pending(kept)
    pieces: list[bytes] = []
    for named in body["part_ids"]:
        if named not in kept.parts and named not in EXAMPLES:
            raise not_found(f"No such part: {named}", "part_ids")
        pieces.append(kept.parts.get(named, b""))
    whole = b"".join(pieces)
    told = kept.object
    if len(whole) != told["bytes"] and told["id"] not in EXAMPLES:
        refuse(
            f"Expected {told['bytes']} bytes in total, but the parts have {len(whole)}.", "part_ids"
        )
    file = keep_file(state, told["filename"], whole, told["purpose"])
    kept.object |= {"status": "completed", "file": file}
    return Response(200, dumps(kept.object))


def cancel_upload(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/uploads/{upload_id}/cancel``."""
    kept = _parts(params, state)
    _check_pending(kept)
    kept.object["status"] = "cancelled"
    return Response(200, dumps(kept.object))


def _upload_object(named: str, body: JsonObject, state: ServerState) -> JsonObject:
    now = state.ids.now()
    return {
        "id": named,
        "object": "upload",
        "bytes": body["bytes"],
        "created_at": now,
        "filename": body["filename"],
        "purpose": body["purpose"],
        "status": "pending",
        "expires_at": now + 3600,
        "file": None,
    }


def _parts(params: Params, state: ServerState) -> _Parts:
    named = params["upload_id"]
    kept: _Parts | None = state.store("openai.uploads").get(named)
    if kept is not None:
        return kept
    if named in EXAMPLES:
        body = {"bytes": 0, "filename": "mydata.jsonl", "purpose": "fine-tune"}
        return _Parts(_upload_object(named, body, state), {})
    raise not_found(f"No such Upload object: {named}", "id")


def _check_pending(kept: _Parts) -> None:
    if kept.object["status"] != "pending":
        refuse(f"Upload {kept.object['id']} is already {kept.object['status']}.")
