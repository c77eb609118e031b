"""Identifiers out of the API reference, and lists by cursor.

The reference's examples, the mock servers made from its description and the test suites generated
from it name objects that nobody stored: by the parameter's own name (``response_id``) or by the
identifier of the documented example. Such a name is answered with an example object. Every other
name of something that was not stored gets the provider's 404.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from windtunnel.models.dialects.openai_fields import refuse
from windtunnel.models.protocol import HttpRequest, JsonObject

EXAMPLES = frozenset(
    {
        "string",
        "id",
        "response_id",
        "previous_response_id",
        "completion_id",
        "file_id",
        "input_file_id",
        "batch_id",
        "upload_id",
        "conversation_id",
        "item_id",
        "resp_123",
        "resp_677efb5139a88190b512bc3fef8e535d",
        "chatcmpl-abc123",
        "conv_123",
        "msg_abc",
        "file-abc123",
        "batch_abc123",
        "upload_abc123",
        "ft:gpt-4o-mini:acemeco:suffix:abc123",
    }
)

EXAMPLE_EMBEDDING = {
    "model": "text-embedding-3-small",
    "input": "The quick brown fox jumped over the lazy dog",
    "encoding_format": "base64",
}
"""The description's example request for an embedding, as the official client sends it. The example
answer has numbers, which is also what the client checks for when it validates strictly."""


def query_of(request: HttpRequest) -> dict[str, str]:
    """The query, the last value of each name."""
    if not request.query:
        return {}
    return {name: values[-1] for name, values in parse_qs(request.query).items()}


def page(
    items: Iterable[JsonObject], request: HttpRequest, *, usual: int = 20, newest_first: bool = True
) -> JsonObject:
    """A list object: what of ``items`` (oldest first) the query asks for.

    :raises RefusedError: where limit or order is none.
    """
    query = query_of(request)
    order = query.get("order", "desc" if newest_first else "asc")
    if order not in ("asc", "desc"):
        refuse(
            f"Invalid value: '{order}'. Supported values are: 'asc' and 'desc'.",
            "order",
            "invalid_value",
        )
    found = list(items)
    if order == "desc":
        found.reverse()
    found = _after(found, query.get("after"))
    if (before := query.get("before")) is not None:
        found.reverse()
        found = _after(found, before)
        found.reverse()
    limit = _limit(query.get("limit"), usual)
    shown = found[:limit]
    ids: list[Any] = [item.get("id") for item in shown]
    return {
        "object": "list",
        "data": shown,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": len(found) > limit,
    }


def _after(found: list[JsonObject], cursor: str | None) -> list[JsonObject]:
    for place, item in enumerate(found):
        if item.get("id") == cursor:
            return found[place + 1 :]
    return found


def _limit(written: str | None, usual: int) -> int:
    if written is None:
        return usual
    if not written.lstrip("-").isdecimal():
        refuse(
            f"Invalid type for 'limit': expected an integer, but got '{written}' instead.",
            "limit",
            "invalid_type",
        )
    limit = int(written)
    if limit < 0:
        refuse(
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, "
            f"but got {limit} instead.",
            "limit",
            "integer_below_min_value",
        )
    return limit or usual
