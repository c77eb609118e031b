"""Anthropic's message batches: made, looked at, cancelled, deleted, and their results read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from windtunnel.models import ModelServer, serve

MODEL = "claude-opus-5-5"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("anthropic",)) as started:
        yield started


@pytest.fixture
def client(server: ModelServer) -> Iterator[anthropic.Anthropic]:
    http = anthropic.DefaultHttpxClient(verify=False)
    with anthropic.Anthropic(
        base_url=server.url, api_key="key", max_retries=0, http_client=http
    ) as made:
        yield made


def wanted(name: str, text: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return {
        "custom_id": name,
        "params": {"model": MODEL, "max_tokens": 10, "messages": messages, **more},
    }


def test_a_batch_is_answered_by_the_scripts_each_request_by_itself(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    server.on("one").reply("eins")
    server.on("two").reply("zwei")
    made = client.messages.batches.create(
        requests=[wanted("a", "one"), wanted("b", "two"), wanted("c", "x", max_tokens=-1)]
    )
    assert (made.processing_status, made.request_counts.processing) == ("in_progress", 3)
    ended = client.messages.batches.retrieve(made.id)
    assert (ended.processing_status, ended.request_counts.succeeded) == ("ended", 2)
    results = {one.custom_id: one.result for one in client.messages.batches.results(made.id)}
    first, second, third = (results[name] for name in "abc")
    assert first.type == second.type == "succeeded"
    assert first.message.content[0].text == "eins"  # type: ignore[union-attr]
    assert second.message.content[0].text == "zwei"  # type: ignore[union-attr]
    assert third.type == "errored"
    assert third.error.error.type == "invalid_request_error"


def test_a_batch_is_cancelled_before_it_is_done(client: anthropic.Anthropic) -> None:
    made = client.messages.batches.create(requests=[wanted("a", "one")])
    assert client.messages.batches.cancel(made.id).processing_status == "canceling"
    assert client.messages.batches.retrieve(made.id).request_counts.canceled == 1
    (result,) = client.messages.batches.results(made.id)
    assert result.result.type == "canceled"


def test_batches_are_listed_newest_first_and_deleted_when_ended(
    client: anthropic.Anthropic,
) -> None:
    ids = [client.messages.batches.create(requests=[wanted("a", "x")]).id for _ in range(3)]
    with pytest.raises(anthropic.BadRequestError, match="cannot be deleted until it has ended"):
        client.messages.batches.delete(ids[0])
    assert [batch.id for batch in client.messages.batches.list(limit=2)] == ids[::-1]
    assert client.messages.batches.delete(ids[0]).id == ids[0]
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(ids[0])


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ([], "requests: List should have at least 1 item"),
        ([{"params": {}}], r"requests\.0\.custom_id: Field required"),
        ([wanted("a", "x"), wanted("a", "y")], "custom_id must be unique"),
    ],
)
def test_a_wrong_batch_is_refused(client: anthropic.Anthropic, requests: Any, words: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=words):
        client.messages.batches.create(requests=requests)
