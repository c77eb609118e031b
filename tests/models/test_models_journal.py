"""What a server keeps of its requests has a bound, and nobody is told that it is all."""

from __future__ import annotations

import pytest
from tiny_dialect import asked

from windtunnel.core.errors import UsageError
from windtunnel.models import ModelServer


def test_bodies_and_answers_that_are_made_have_a_bound_in_bytes():
    server = ModelServer(("tiny",), journal=100)
    server.on(contains="long").reply(lambda call: "x" * 100_000)
    for number in range(20):
        server.core.handle(asked(f"a long answer {number}"))
    assert server.request_count == 20
    assert [one.number for one in server.requests] == list(range(15, 21))
    server.set_response("short")
    for number in range(200):
        server.core.handle(asked(f"{number}"))
    assert [one.number for one in server.requests] == list(range(121, 221))
    server.reset()
    assert (server.request_count, server.requests) == (0, [])


def test_an_answer_that_is_always_the_same_counts_but_once():
    server = ModelServer(("tiny",), journal=100)
    server.set_response("x" * 100_000)
    for number in range(100):
        server.core.handle(asked(f"{number}"))
    assert len(server.requests) == 100


def test_of_calls_that_no_script_fits_the_first_are_kept_and_the_others_counted():
    server = ModelServer(("tiny",))
    server.on("hello").reply("Hi.")
    for number in range(130):
        server.core.handle(asked(f"{number}"))
    assert [one.call.last_user_text for one in server.core.unmatched] == [
        str(number) for number in range(100)
    ]
    assert server.core.unmatched.dropped == 30


def test_nothing_is_asserted_of_requests_that_are_not_kept():
    server = ModelServer(("tiny",), journal=3)
    server.set_response("Fine.")
    for text in ("one", "two", "three", "four"):
        server.core.handle(asked(text))
    server.assert_called("four")
    for unsure in (
        lambda: server.assert_called("one"),
        lambda: server.assert_not_called("five"),
        lambda: server.assert_called("four", times=1),
        lambda: server.assert_tokens(total=10_000),
        lambda: server.assert_no_secrets(),
        lambda: server.transcript(),
    ):
        with pytest.raises(UsageError, match="4 requests, of which the last 3 are kept"):
            unsure()
