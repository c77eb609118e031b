"""What a test asserts of the calls, and what it is told when they were others."""

from __future__ import annotations

import pytest
from tiny_dialect import asked

from windtunnel.models import ModelServer, Reply, ToolCall
from windtunnel.models.secrets import find, scrub


@pytest.fixture
def server() -> ModelServer:
    server = ModelServer(("tiny",))
    server.set_response("Fine.")
    return server


def ask(server: ModelServer, text: str, **more) -> None:
    server.core.handle(asked(text, **more))


def test_calls_are_counted_by_what_they_asked(server):
    ask(server, "the weather in Oslo")
    ask(server, "the weather in Rome")
    assert len(server.assert_called(contains="weather")) == 2
    server.assert_called("the weather in Oslo", times=1)
    server.assert_not_called(contains="stocks")
    assert [one.text for one in server.matching(contains="Rome")] == ["the weather in Rome"]


def test_a_call_that_was_not_made_is_shown_beside_the_one_that_was(server):
    with pytest.raises(AssertionError, match="no model was called at all"):
        server.assert_called(contains="weather")
    ask(server, "whether")
    with pytest.raises(AssertionError, match="contains='weather', found 'whether'"):
        server.assert_called(contains="weather")
    with pytest.raises(AssertionError, match="2 expected, 1 made"):
        server.assert_called("whether", times=2)


def test_scripts_that_never_answered_are_named(server):
    server.on("never").reply("x")
    ask(server, "hi")
    with pytest.raises(AssertionError, match="on\\(text='never'\\)"):
        server.assert_all_used()
    ask(server, "never")
    server.assert_all_used()


def test_tools_are_called_in_the_order_that_is_expected(server):
    server.on("one").reply([ToolCall("search"), ToolCall("book")])
    server.on("two").reply(ToolCall("pay"))
    ask(server, "one")
    ask(server, "two")
    server.assert_tool_calls(["search", "book", "pay"])
    server.assert_tool_calls(["search", "pay"], exactly=False)
    with pytest.raises(AssertionError, match="expected"):
        server.assert_tool_calls(["book", "search"], exactly=False)
    with pytest.raises(AssertionError, match="made"):
        server.assert_tool_calls(["search"])


def test_tokens_and_costs_have_budgets(server):
    for _ in range(3):
        ask(server, "hello")
    read, written = server.tokens
    assert read > 0 < written
    server.assert_tokens(input=read, output=written, total=read + written)
    with pytest.raises(AssertionError, match=f"output tokens: at most 1 allowed, {written} used"):
        server.assert_tokens(output=1)
    prices = {"tiny-1": (1_000_000.0, 2_000_000.0)}
    assert server.cost(prices) == read + 2 * written
    server.assert_cost(read + 2 * written, prices)
    with pytest.raises(AssertionError, match="cost: at most 1 allowed"):
        server.assert_cost(1, prices)
    with pytest.raises(AssertionError, match="no price was given for the model 'tiny-1'"):
        server.cost({})


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "AKIAABCDEFGHIJKLMNOP",
        "ghp_abcdefghijklmnopqrstuvwxyz012345",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
        "postgres://user:hunter2@db/x",
    ],
)
def test_a_secret_in_a_prompt_is_found_and_not_shown(server, secret):
    ask(server, "nothing to hide")
    server.assert_no_secrets()
    ask(server, f"use {secret} please")
    with pytest.raises(AssertionError, match="in its prompt") as caught:
        server.assert_no_secrets()
    assert secret not in str(caught.value)
    assert secret not in scrub(f"a {secret} b")


def test_the_value_of_a_secret_variable_is_a_secret(server, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "correct horse battery")
    ask(server, "say correct horse battery")
    with pytest.raises(AssertionError, match="the value of MY_API_KEY"):
        server.assert_no_secrets()
    assert find("say correct horse battery", {"MY_NAME": "correct horse battery"}) == []


def test_a_transcript_is_the_same_for_the_same_calls(server):
    def play(server: ModelServer) -> str:
        server.on("find it").reply(ToolCall("search", {"q": "x"}))
        server.on(tool_result=True).reply(Reply("Found.", "hm"))
        ask(server, "find it", system="Be brief.")
        ask(server, "so", results={"search": "it"})
        return server.transcript()

    told = play(server)
    assert told == play(ModelServer(("tiny",)))
    assert told == (
        "tiny say tiny-1\nsystem: Be brief.\nuser: find it\n=> search(q='x')\n\n"
        "tiny say tiny-1\nuser: so\nresult of search: it\n=> thinking: hm\n=> Found."
    )
