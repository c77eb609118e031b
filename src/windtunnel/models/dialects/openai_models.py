"""Models, and chat completions that were stored: listed, shown, changed, deleted.

Source: https://platform.openai.com/docs/api-reference/models and ``.../chat/list``
"""

from __future__ import annotations

from windtunnel.models.dialects.openai_chat_reply import render_chat
from windtunnel.models.dialects.openai_chat_request import parse_chat
from windtunnel.models.dialects.openai_examples import EXAMPLES, page, query_of
from windtunnel.models.dialects.openai_fields import body_of, metadata, missing, not_found, refuse
from windtunnel.models.jsonio import dumps, loads
from windtunnel.models.protocol import HttpRequest, JsonObject, Params, Reply, Response, Usage
from windtunnel.models.state import ModelEntry, ServerState

DEFAULTS = (
    "gpt-5",
    "gpt-5-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "o3",
    "o4-mini",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "text-embedding-ada-002",
    "omni-moderation-latest",
    "gpt-image-1",
    "dall-e-3",
    "tts-1",
    "gpt-4o-mini-tts",
    "whisper-1",
    "gpt-4o-transcribe",
)
"""The models that a server lists when its user lists none."""

_FAMILIES = (
    "gpt-",
    "chatgpt-",
    "o1",
    "o3",
    "o4",
    "ft:",
    "text-embedding-",
    "omni-moderation-",
    "text-moderation-",
    "dall-e-",
    "tts-",
    "whisper-",
    "davinci-",
    "babbage-",
    "codex-",
    "computer-use-",
    "sora-",
)


def models(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/models``."""
    listed = [_card(entry) for entry in state.models.of("openai")]
    return Response(200, dumps({"object": "list", "data": listed}))


def model(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/models/{model}``: listed, scripted, or named as OpenAI's are."""
    name = params["model"]
    entry = state.models.get(name)
    if entry is None:
        familiar = name.startswith(_FAMILIES) or state.models.known(name, strict=True)
        if not (familiar and state.models.known(name)):
            _unknown(name)
        entry = ModelEntry(name)
    return Response(200, dumps(_card(entry)))


def delete_model(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``DELETE /v1/models/{model}``: a fine-tuned one only."""
    name = params["model"]
    if name not in EXAMPLES:
        if not state.models.known(name, strict=True):
            _unknown(name)
        if not name.startswith("ft:"):
            refuse(
                "You have insufficient permissions for this operation.",
                status=403,
                kind="permission",
            )
        state.models.remove(name)
    return Response(200, dumps({"id": name, "object": "model", "deleted": True}))


def _card(entry: ModelEntry) -> JsonObject:
    owner = entry.details.get("owned_by", "openai" if entry.name.startswith("gpt-") else "system")
    return {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": owner,
    }


def _unknown(name: str) -> None:
    refuse(
        f"The model '{name}' does not exist",
        "model",
        "model_not_found",
        status=404,
        kind="model_not_found",
    )


# -- stored chat completions ----------------------------------------------------------------------


def completions(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/chat/completions``: those made with ``store``, oldest first."""
    query = query_of(request)
    wanted = {name[9:-1]: value for name, value in query.items() if name.startswith("metadata[")}
    found = [
        kept["object"]
        for kept in state.store("openai.chat").values()
        if query.get("model") in (None, kept["object"]["model"])
        and wanted.items() <= kept["object"]["metadata"].items()
    ]
    return Response(200, dumps(page(found, request, newest_first=False)))


def completion(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/chat/completions/{completion_id}``."""
    return Response(200, dumps(_stored(params, state)["object"]))


def change_completion(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /v1/chat/completions/{completion_id}``: its metadata alone can be changed."""
    body = body_of(request)
    if "metadata" not in body:
        missing("metadata")
    metadata(body["metadata"], "metadata")
    made = _stored(params, state)["object"]
    made["metadata"] = body["metadata"] or {}
    return Response(200, dumps(made))


def delete_completion(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``DELETE /v1/chat/completions/{completion_id}``."""
    _stored(params, state)
    named = params["completion_id"]
    state.store("openai.chat").pop(named, None)
    gone = {"object": "chat.completion.deleted", "id": named, "deleted": True}
    return Response(200, dumps(gone))


def completion_messages(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /v1/chat/completions/{completion_id}/messages``: what was sent."""
    stored = _stored(params, state)
    named = stored["object"]["id"]
    shown = [_message(raw, f"{named}-{place}") for place, raw in enumerate(stored["messages"])]
    return Response(200, dumps(page(shown, request, newest_first=False)))


def _message(raw: JsonObject, named: str) -> JsonObject:
    content = raw.get("content")
    parts = content if isinstance(content, list) else None
    return {
        "id": named,
        "role": raw["role"],
        "content": None if parts else content,
        "name": raw.get("name"),
        "content_parts": parts,
    }


def _stored(params: Params, state: ServerState) -> JsonObject:
    named = params["completion_id"]
    kept: JsonObject | None = state.store("openai.chat").get(named)
    if kept is not None:
        return kept
    if named in EXAMPLES:
        return _example(named, state)
    raise not_found(f"Chat completion with id '{named}' not found.")


def _example(named: str, state: ServerState) -> JsonObject:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Tell me a story."}]}
    call = parse_chat(HttpRequest("POST", "/v1/chat/completions", body=dumps(body)), state)
    made = render_chat(call, Reply("Once upon a time."), Usage(8, 5), state)
    assert isinstance(made.body, bytes)
    found = loads(made.body) | {"id": named, "metadata": {}}
    # The description's example shows what the assistant said.
    return {"object": found, "messages": [found["choices"][0]["message"]]}
