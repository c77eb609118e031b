"""Anthropic's ``/v1/models``, and lists by cursor as all its endpoints have them.

Source: https://docs.claude.com/en/api/models-list.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from windtunnel.models.dialects.anthropic_checks import refused
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import HttpRequest, JsonObject, Response
from windtunnel.models.state import ModelEntry, ServerState

DEFAULT_MODELS = (
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "claude-opus-4-8",
    "claude-opus-4-6",
    "claude-sonnet-4-6",
    "claude-opus-4-5-20251101",
    "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5-20250929",
)
_LINES = ("haiku", "sonnet", "opus", "fable", "mythos")
_YES: JsonObject = {"supported": True}
_CAPABILITIES: JsonObject = {
    "batch": _YES,
    "citations": _YES,
    "code_execution": _YES,
    "context_management": {"supported": True},
    "effort": dict.fromkeys(("low", "medium", "high", "max"), _YES) | {"supported": True},
    "image_input": _YES,
    "pdf_input": _YES,
    "server_tools": {"supported": True, "code_execution": _YES, "web_search": _YES},
    "structured_outputs": _YES,
    "thinking": {
        "supported": True,
        "types": dict.fromkeys(("adaptive", "between_tools", "disabled", "enabled"), _YES),
    },
}


def stamp(seconds: float) -> str:
    """A time in RFC 3339, UTC.

    >>> stamp(1700000000)
    '2023-11-14T22:13:20Z'
    """
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat().replace("+00:00", "Z")


def listed(request: HttpRequest, state: ServerState) -> Response:
    """``GET /v1/models``."""
    cards = [card(entry) for entry in state.models.of("anthropic")]
    return Response(200, dumps(page(cards, request)))


def retrieved(name: str, state: ServerState) -> Response:
    """``GET /v1/models/{model}``."""
    entry = state.models.get(name)
    if entry is None and state.models.known(name):
        entry = ModelEntry(name, "anthropic")
    if entry is None:
        raise refused(f"model: {name}", 404, "model_not_found")
    return Response(200, dumps(card(entry)))


def card(entry: ModelEntry) -> JsonObject:
    """What is told of a model."""
    given = entry.details
    words = entry.name.replace("-", " ").title()
    return {
        "type": "model",
        "id": entry.name,
        "display_name": given.get("display_name", words),
        "created_at": stamp(entry.created),
        "lifecycle": given.get("lifecycle", "active"),
        "line": next((line for line in _LINES if line in entry.name), None),
        "max_input_tokens": given.get("max_input_tokens", 200_000),
        "max_tokens": given.get("max_tokens", 64_000),
        "deprecated_at": None,
        "retires_at": None,
        "capabilities": given.get("capabilities", _CAPABILITIES),
    }


def page(cards: Sequence[JsonObject], request: HttpRequest, usual: int = 20) -> JsonObject:
    """The part of a list that the query's cursors and limit ask for."""
    query: dict[str, list[str]] = parse_qs(request.query)
    limit = _limit(query, usual)
    ids = [card["id"] for card in cards]
    start, end = 0, len(cards)
    after, before = query.get("after_id", [""])[0], query.get("before_id", [""])[0]
    if after in ids:
        start = ids.index(after) + 1
    if before in ids:
        end = ids.index(before)
        start = max(start, end - limit)
    chosen = list(cards[start:end][:limit])
    more = start > 0 if before in ids else start + len(chosen) < end
    return {
        "data": chosen,
        "has_more": more,
        "first_id": chosen[0]["id"] if chosen else None,
        "last_id": chosen[-1]["id"] if chosen else None,
    }


def _limit(query: dict[str, list[str]], usual: int) -> int:
    written: Any = query.get("limit", [str(usual)])[0]
    try:
        limit = int(written)
    except ValueError:
        raise refused("limit: Input should be a valid integer") from None
    if not 1 <= limit <= 1000:
        raise refused(
            "limit: Input should be greater than or equal to 1"
            if limit < 1
            else "limit: Input should be less than or equal to 1000"
        )
    return limit
