"""Conversations: lists of items that responses read and add to.

Source: https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

from windtunnel.models.dialects.openai_examples import EXAMPLES, page
from windtunnel.models.dialects.openai_fields import (
    anything,
    array,
    body_check,
    body_of,
    metadata,
    missing,
    not_found,
    nullable,
)
from windtunnel.models.dialects.openai_items import read_items
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import HttpRequest, JsonObject, Params, Response
from windtunnel.models.state import ServerState

_check = body_check({"items": nullable(array(anything, 0, 20)), "metadata": metadata})
_check_items = body_check({"items": array(anything, 0, 20)}, ("items",))


def create(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/conversations``."""
    body = body_of(request) if request.body else {}
    _check(body, "")
    shown = _shown(state.ids.hex("conv_", 50), body.get("metadata"), state)
    items = read_items(body.get("items"), state, "items")
    state.store("openai.conversations")[shown["id"]] = {"object": shown, "items": items}
    return Response(200, dumps(shown))


def retrieve(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/conversations/{conversation_id}``."""
    return Response(200, dumps(_kept(params, state)["object"]))


def update(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/conversations/{conversation_id}``: its metadata."""
    body = body_of(request)
    if "metadata" not in body:
        missing("metadata")
    metadata(body["metadata"], "metadata")
    kept = _kept(params, state)
    kept["object"]["metadata"] = body["metadata"] or {}
    return Response(200, dumps(kept["object"]))


def delete(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``DELETE /v1/conversations/{conversation_id}``."""
    named = _kept(params, state)["object"]["id"]
    state.store("openai.conversations").pop(named, None)
    return Response(200, dumps({"id": named, "object": "conversation.deleted", "deleted": True}))


def add_items(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/conversations/{conversation_id}/items``."""
    body = body_of(request)
    _check_items(body, "")
    kept = _kept(params, state)
    added = read_items(body["items"], state, "items")
    kept["items"] += added
    return Response(200, dumps(page(added, request, usual=100, newest_first=False)))


def items(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/conversations/{conversation_id}/items``."""
    return Response(200, dumps(page(_kept(params, state)["items"], request)))


def item(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/conversations/{conversation_id}/items/{item_id}``."""
    return Response(200, dumps(_item(_kept(params, state), params["item_id"])))


def delete_item(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``DELETE /v1/conversations/{conversation_id}/items/{item_id}``: the conversation without
    it."""
    kept = _kept(params, state)
    found = _item(kept, params["item_id"])
    kept["items"].remove(found)
    return Response(200, dumps(kept["object"]))


def _item(kept: JsonObject, named: str) -> JsonObject:
    for found in kept["items"]:
        if found.get("id") == named:
            one: JsonObject = found
            return one
    raise not_found(f"Item with id '{named}' not found.")


def _shown(named: str, said: JsonObject | None, state: ServerState) -> JsonObject:
    return {
        "id": named,
        "object": "conversation",
        "created_at": state.ids.now(),
        "metadata": said or {},
    }


def _kept(params: Params, state: ServerState) -> JsonObject:
    named = params["conversation_id"]
    found: JsonObject | None = state.store("openai.conversations").get(named)
    if found is not None:
        return found
    if named not in EXAMPLES:
        raise not_found(f"Conversation with id '{named}' not found.")
    items = read_items("Tell me a story.", state)
    items[0]["id"] = params.get("item_id", items[0]["id"])
    return {"object": _shown(named, None, state), "items": items}
