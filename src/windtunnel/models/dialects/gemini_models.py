"""Gemini's list of models.

Source: https://ai.google.dev/api/models.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from windtunnel.models.dialects.gemini_fields import refused
from windtunnel.models.dialects.gemini_replies import JSON
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import HttpRequest, JsonObject, Response
from windtunnel.models.state import ModelEntry, ServerState

DEFAULT_MODELS = (
    "gemini-3-pro-preview",
    "gemini-3-flash-preview",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.0-flash",
    "gemini-embedding-001",
    "text-embedding-004",
)
_TALK = ("generateContent", "countTokens", "createCachedContent", "batchGenerateContent")
_EMBED = ("embedContent", "countTextTokens", "countTokens", "asyncBatchEmbedContent")


def listed(request: HttpRequest, state: ServerState) -> Response:
    """``GET /models``, by pages."""
    query = parse_qs(request.query)
    written, token = query.get("pageSize", ["50"])[0], query.get("pageToken", [""])[0]
    try:
        size, start = int(written), int(token or 0)
    except ValueError:
        field = "page_token" if written.lstrip("-").isdigit() else "page_size"
        raise refused(f"* ListModelsRequest.{field}: invalid {field}\n") from None
    if size < 0:
        raise refused("* ListModelsRequest.page_size: page_size must not be negative\n")
    size = min(size or 50, 1000)
    cards = [card(entry) for entry in state.models.of("gemini")]
    body: JsonObject = {"models": cards[start : start + size]}
    if start + size < len(cards):
        body["nextPageToken"] = str(start + size)
    return Response(200, dumps(body), JSON)


def retrieved(name: str, state: ServerState, version: str) -> Response:
    """``GET /models/{model}``."""
    entry = state.models.get(name)
    if entry is None and state.models.known(name):
        entry = ModelEntry(name, "gemini")
    if entry is None:
        raise refused(
            f"Model is not found: models/{name} for api version {version}", 404, "model_not_found"
        )
    return Response(200, dumps(card(entry)), JSON)


def card(entry: ModelEntry) -> JsonObject:
    """What is told of a model."""
    given = entry.details
    embeds = "embedding" in entry.name
    told: JsonObject = {
        "name": f"models/{entry.name}",
        "version": given.get("version", "001"),
        "displayName": given.get("display_name", entry.name.replace("-", " ").title()),
        "description": given.get("description", f"Stands in for {entry.name}."),
        "inputTokenLimit": given.get("input_token_limit", 2048 if embeds else 1_048_576),
        "outputTokenLimit": given.get("output_token_limit", 1 if embeds else 65_536),
        "supportedGenerationMethods": list(_EMBED if embeds else _TALK),
    }
    if not embeds:
        told |= {"temperature": 1, "topP": 0.95, "topK": 64, "maxTemperature": 2, "thinking": True}
    return told
