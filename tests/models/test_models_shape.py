"""Schemas that no value satisfies, or that are none: refused by the API, never a server error."""

from __future__ import annotations

import json
import random

import pytest

from windtunnel.core.errors import UsageError
from windtunnel.models import ModelServer
from windtunnel.models.protocol import HttpRequest
from windtunnel.models.shape import sample

_SCHEMAS = {
    "bounds": {"type": "integer", "minimum": 5, "maximum": 1},
    "endless": {"$ref": "#"},
    "pattern": {"type": "string", "pattern": r"\p{L}+"},
    "huge": {"type": "array", "items": {"type": "integer"}, "minItems": 10**12},
}
_SAID = [{"role": "user", "content": "hi"}]


def _bodies(schema: object) -> dict[str, dict[str, object]]:
    named = {"name": "n", "schema": schema}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    form = {"type": "json_schema", "schema": schema}
    return {
        "/v1/chat/completions": {
            "model": "gpt-4o",
            "messages": _SAID,
            "response_format": {"type": "json_schema", "json_schema": named},
        },
        "/openai/v1/chat/completions": {
            "model": "gpt-4o",
            "messages": _SAID,
            "tools": [tool],
            "tool_choice": "required",
        },
        "/v1/responses": {
            "model": "gpt-4o",
            "input": "hi",
            "text": {"format": {"type": "json_schema", **named}},
        },
        "/api/chat": {"model": "llama3.2", "messages": _SAID, "format": schema},
        "/v1/messages": {
            "model": "claude-opus-5-5",
            "max_tokens": 9,
            "messages": _SAID,
            "output_config": {"format": form},
        },
        "/v1beta/models/gemini-2.5-flash:generateContent": {
            "contents": contents,
            "generationConfig": config,
        },
    }


@pytest.mark.parametrize("which", _SCHEMAS)
@pytest.mark.parametrize("path", list(_bodies({})))
def test_a_schema_that_nothing_satisfies_is_refused_in_the_api_s_own_words(which, path):
    server = ModelServer(strict=False)
    whole = {
        "type": "object",
        "properties": {"n": _SCHEMAS[which]},
        "required": ["n"],
        "additionalProperties": False,
    }
    headers = (("content-type", "application/json"),)
    if path == "/v1/messages":
        headers += (("anthropic-version", "2023-06-01"),)
    data = json.dumps(_bodies(whole)[path]).encode()
    response = server.core.respond(HttpRequest("POST", path, "", headers, data))
    error = json.loads(response.body)["error"]
    assert response.status == 400
    assert "schema" in (error if isinstance(error, str) else error["message"]).lower()
    assert server.core.defects == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "minimum": 2, "maximum": 1},
        {"type": "number", "multipleOf": 5, "minimum": 6, "maximum": 9},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"type": "integer", "minimum": "five"},
        {"type": "string", "pattern": "["},
        {"enum": []},
        {"properties": 5, "type": "object"},
    ],
    ids=str,
)
def test_what_has_no_value_is_an_error_and_no_value_that_fits_not(schema):
    with pytest.raises(UsageError, match="the JSON schema"):
        sample(schema, random.Random(7))


def test_a_format_gives_way_to_the_length_that_is_wanted():
    schema = {"type": "string", "format": "email", "maxLength": 4}
    assert 0 < len(sample(schema, random.Random(7))) <= 4
