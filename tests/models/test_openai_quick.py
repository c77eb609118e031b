"""The commonest requests are read and answered by a shorter way, which may not show."""

from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.models import ModelServer
from windtunnel.models.protocol import HttpRequest, Message, ModelCall
from windtunnel.models.quick import maker

_ANYTHING = st.sampled_from([None, True, False, 0, 1, 2, -1, 1.5, 2**63, "", "a", [], {}, ["a"]])
_OPTIONAL = (
    *("stream", "max_tokens", "max_completion_tokens", "n", "temperature", "top_p", "seed"),
    *("frequency_penalty", "presence_penalty", "user", "safety_identifier", "prompt_cache_key"),
    *("stop", "store", "wizardry"),
)
_TEXT = st.text(max_size=8)
_ROLE = st.sampled_from(["user", "assistant", "system", "developer", "tool", "wizard"])
_SAID = st.fixed_dictionaries(
    {"role": _ROLE, "content": _TEXT | _ANYTHING},
    optional={"name": _TEXT, "refusal": st.none() | _TEXT},
)
_CHATS = st.fixed_dictionaries(
    {
        "model": st.just("gpt-4o") | _ANYTHING,
        "messages": st.lists(_SAID, max_size=4) | _ANYTHING,
    },
    optional=dict.fromkeys(_OPTIONAL, _ANYTHING),
)


def _request(body: dict[str, Any]) -> HttpRequest:
    headers = (("content-type", "application/json"),)
    return HttpRequest("POST", "/v1/chat/completions", "", headers, json.dumps(body).encode())


def _answered(server: ModelServer, body: dict[str, Any]) -> tuple[int, list[Any]]:
    """Status and body, as lines of JSON, without what is another each time."""
    response = server.core.respond(_request(body))
    assert isinstance(response.body, bytes)
    lines = response.body.removesuffix(b"data: [DONE]\n\n").splitlines()
    found = [json.loads(line.removeprefix(b"data: ")) for line in lines if line]
    for one in found:
        one.pop("id", None)
        one.pop("created", None)
    return response.status, found


@settings(max_examples=150, deadline=None)
@given(_CHATS)
def test_a_plain_request_is_answered_as_one_that_takes_the_long_way(body: dict[str, Any]) -> None:
    server = ModelServer(("openai",), models=["gpt-4o", "a"])
    server.on(contains="a").reply("That was an A.", thinking="Hm.")
    server.on().reply("What?")
    # A field of no effect that the shorter way does not know.
    assert _answered(server, body) == _answered(server, body | {"logit_bias": None})


def test_a_plain_call_has_the_body_and_its_messages_as_they_were_sent() -> None:
    body = {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi."},
        ],
        "temperature": 1,
    }
    call = ModelServer(("openai",)).core.read(_request(body))
    assert call is not None
    assert (call.raw, call.messages[0].raw) == (body, body["messages"][1])
    assert (call.system, call.last_user_text) == ("Be brief.", "Hi.")
    assert not hasattr(call, "wizardry")
    assert pickle.loads(pickle.dumps(call)) == dataclasses.replace(call) == call


def test_an_instance_made_fast_is_one_made_in_the_usual_way() -> None:
    made = maker(ModelCall)("openai", "chat", "gpt-4o", messages=(Message("user", "Hi."),))
    usual = ModelCall("openai", "chat", "gpt-4o", messages=(Message("user", "Hi."),))
    assert (made, repr(made)) == (usual, repr(usual))
    assert (type(made), made.options is usual.options) == (ModelCall, False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.model = "gpt-5"  # type: ignore[misc]
