"""From a request to the bytes that answer it: routes, heads, limits, keys, identifiers, tokens."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_dialect import asked, said, sent

from windtunnel import models
from windtunnel.core.errors import UsageError
from windtunnel.core.seed import Seed
from windtunnel.models import jsonio, tokens
from windtunnel.models.core import ModelCore
from windtunnel.models.limits import Limiter
from windtunnel.models.pace import Pace, lognormal
from windtunnel.models.protocol import HttpRequest, Message, ModelCall, Reply, Tool, ToolCall
from windtunnel.models.wire import BadRequestError, RequestReader


def core(**more) -> ModelCore:
    return ModelCore(("tiny",), seed=Seed(7), **more)


def test_an_answer_bears_length_type_version_and_a_request_id():
    status, headers, body = sent(core().handle(asked()))
    assert status == 200
    assert int(headers["content-length"]) == len(body)
    assert headers["content-type"] == "application/json"
    assert headers["tiny-version"] == "1"
    assert headers["x-request-id"].startswith("req_")
    assert "connection" not in headers


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    def run(seed: int) -> list[bytes]:
        made = ModelCore(("tiny",), seed=Seed(seed))
        return [sent(made.handle(asked(text)))[2] for text in ("a", "b", "a")]

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_a_default_answer_depends_on_the_question_and_not_on_what_was_asked_before():
    one, other = core(), core()
    other.handle(asked("something else"))
    assert said(one.handle(asked("q")))["text"] == said(other.handle(asked("q")))["text"]


def test_a_reset_server_begins_like_a_new_one():
    made = core()
    first = sent(made.handle(asked()))[2]
    made.scripts.on().reply("x")
    made.state.models.remove("tiny-1")
    made.reset()
    assert sent(made.handle(asked()))[2] == first


def test_a_client_that_wants_no_kept_connection_is_told_that_it_is_closed():
    plan = core().handle(asked()._replace(keep_alive=False))
    assert sent(plan)[1]["connection"] == "close"
    assert plan.ending == "close"


def test_a_stream_is_chunked_frame_by_frame():
    made = core()
    made.scripts.on("hello").reply("one two")
    status, headers, body = sent(made.handle(asked(stream=True)))
    assert status == 200
    assert headers["transfer-encoding"] == "chunked"
    lines = [json.loads(line) for line in body.splitlines()]
    assert lines == [{"begin": True}, {"text": "one"}, {"text": " two"}, {"end": True}]


def test_a_client_of_http_1_0_gets_a_stream_without_chunks_until_the_end():
    plan = core().handle(asked(stream=True)._replace(version="1.0", keep_alive=False))
    _, headers, body = sent(plan)
    assert "transfer-encoding" not in headers
    assert plan.ending == "close"
    assert all(json.loads(line) for line in body.splitlines())


def test_a_head_request_has_the_head_of_a_get_and_no_body():
    made = core()
    got = sent(made.handle(HttpRequest("GET", "/tiny/models")))
    head = sent(made.handle(HttpRequest("HEAD", "/tiny/models")))
    assert head[0] == 200
    assert head[1]["content-length"] == got[1]["content-length"]
    assert head[2] == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HttpRequest("GET", "/nowhere"), 404),
        (HttpRequest("DELETE", "/tiny/say"), 405),
        (HttpRequest("POST", "/tiny/say", body=b"{"), 400),
        (HttpRequest("POST", "/tiny/say", body=b"[]"), 400),
        (HttpRequest("POST", "/tiny/say", body=b"\xff\xfe"), 400),
    ],
    ids=lambda value: getattr(value, "path", value),
)
def test_what_cannot_be_answered_is_refused_in_the_providers_words(request_, status):
    found = core().handle(request_)
    assert sent(found)[0] == status
    assert said(found)["error"]["message"]


def test_a_name_in_a_path_is_decoded_and_slashes_too_many_do_not_matter():
    found = core().handle(HttpRequest("GET", "/tiny//models/a%20b/"))
    assert said(found) == {"name": "a b"}


def test_a_key_is_checked_where_the_user_sets_one():
    made = core(api_key="right")
    assert sent(made.handle(asked()))[0] == 401
    assert sent(made.handle(asked()._replace(headers=(("x-key", "wrong"),))))[0] == 401
    assert sent(made.handle(asked()._replace(headers=(("x-key", "right"),))))[0] == 200


def test_only_listed_models_are_known_once_models_are_listed():
    made = core(models=["only"])
    assert sent(made.handle(asked(model="only")))[0] == 200
    assert sent(made.handle(asked(model="other")))[0] == 404


def test_a_removed_model_is_unknown_also_to_a_request_that_was_answered_before():
    made = core()
    assert sent(made.handle(asked(model="m")))[0] == 200
    made.state.models.remove("m")
    assert sent(made.handle(asked(model="m")))[0] == 404
    made.state.models.add("m")
    assert sent(made.handle(asked(model="m")))[0] == 200


def test_more_requests_than_a_minute_allows_are_refused_until_time_has_passed():
    made = core()
    time = [0.0]
    made.limiter = Limiter(lambda: time[0], requests_per_minute=2)
    first, second, third = (sent(made.handle(asked())) for _ in range(3))
    assert (first[0], second[0], third[0]) == (200, 200, 429)
    assert first[1]["x-left"] == "1"
    assert 0 < float(third[1]["retry-after"]) <= 30
    time[0] = float(third[1]["retry-after"])
    assert sent(made.handle(asked()))[0] == 200


def test_tokens_are_limited_by_the_minute_too_and_each_key_has_its_own():
    made = core()
    made.limiter = Limiter(lambda: 0.0, tokens_per_minute=20)
    made.scripts.on().reply("eight words make about as many tokens here")
    answers = [sent(made.handle(asked()))[0] for _ in range(3)]
    assert answers[0] == 200
    assert answers[-1] == 429
    other = asked()._replace(headers=(("x-key", "another"),))
    assert sent(made.handle(other))[0] == 200


def test_a_slow_answer_is_planned_token_by_token_and_nothing_waits_while_it_is_planned():
    made = core()
    made.scripts.on().reply("one two three", latency=Pace(0.5, tokens_per_s=10))
    delays = [step.delay_s for step in made.handle(asked(stream=True)).steps]
    assert delays[0] == 0.5
    assert [delay for delay in delays[1:] if delay] == [0.1, 0.1]
    (step,) = made.handle(asked()).steps
    assert step.delay_s == pytest.approx(0.7)


def test_a_latency_drawn_from_a_distribution_is_the_same_under_the_same_seed():
    def delays(seed: int) -> list[float]:
        made = ModelCore(("tiny",), seed=Seed(seed))
        made.pace = Pace(lognormal(0.3, 0.5))
        return [next(iter(made.handle(asked()).steps)).delay_s for _ in range(5)]

    assert delays(1) == delays(1)
    assert len(set(delays(1))) == 5
    assert delays(1) != delays(2)


@pytest.mark.parametrize(
    ("distribution", "mean"),
    [
        (models.exponential(0.3), 0.3),
        (models.empirical([0.1, 0.2, 0.6]), 0.3),
        (models.uniform(0.2, 0.4), 0.3),
        (models.normal(0.3, 0.05), 0.3),
    ],
    ids=["exponential", "empirical", "uniform", "normal"],
)
def test_latencies_are_distributed_as_said(distribution, mean: float):
    made = ModelCore(("tiny",), seed=Seed(3))
    made.pace = Pace(distribution)
    delays = [next(iter(made.handle(asked()).steps)).delay_s for _ in range(400)]
    assert sum(delays) / len(delays) == pytest.approx(mean, rel=0.15)  # of one seed
    assert min(delays) >= 0
    assert len(set(delays)) >= 3


def test_a_pace_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="first_token_s is not negative"):
        Pace(-1)
    with pytest.raises(UsageError, match="tokens_per_s is above 0"):
        Pace(0.1, 0)


def test_a_function_that_answers_may_be_awaited():
    made = core()

    async def slowly(call: ModelCall) -> str:
        await asyncio.sleep(0)
        return f"{call.last_user_text}!"

    made.scripts.on().reply(slowly)
    plan = asyncio.run(_awaited(made.handle(asked("hey"))))
    assert said(plan)["text"] == "hey!"


async def _awaited(later):
    return await later


def test_a_function_that_raises_is_a_server_error_and_a_defect_the_test_hears_of():
    made = core()

    def broken(call: ModelCall) -> str:
        raise ZeroDivisionError("in the script")

    made.scripts.on().reply(broken)
    assert sent(made.handle(asked()))[0] == 500
    assert [type(defect) for defect in made.defects] == [ZeroDivisionError]


def test_the_journal_keeps_the_last_requests_and_counts_all():
    made = core(journal=3)
    for number in range(5):
        made.handle(asked(str(number)))
    assert [one.text for one in made.journal] == ["2", "3", "4"]
    assert (made.journal.count, made.journal.dropped) == (5, 2)


def test_an_entry_of_the_journal_tells_what_was_asked_and_answered():
    made = core()
    script = made.scripts.on("hello").reply("world")
    made.handle(asked())
    (entry,) = made.journal
    assert (entry.method, entry.path, entry.status) == ("POST", "/tiny/say", 200)
    assert (entry.model, entry.text, entry.answer) == ("tiny-1", "hello", "world")
    assert entry.script is script
    assert entry.body == {"text": "hello"}
    assert entry.usage is not None
    assert entry.usage.output_tokens == tokens.count("world")


# -- tokens ---------------------------------------------------------------------------------------


@given(st.text())
def test_the_pieces_of_a_text_joined_are_the_text_and_as_many_as_its_tokens(text):
    assert "".join(tokens.pieces(text)) == text
    assert len(tokens.pieces(text)) == tokens.count(text)
    assert (tokens.count(text) > 0) == bool(text)


def test_every_part_of_a_call_and_of_a_reply_costs_tokens():
    bare = ModelCall("d", "e", "m", messages=(Message("user", "hi"),))
    base = tokens.usage_of(bare, Reply("yes"))
    for call in (
        ModelCall("d", "e", "m", messages=bare.messages, system="be brief"),
        ModelCall("d", "e", "m", messages=(*bare.messages, Message("assistant", "x"))),
        ModelCall("d", "e", "m", messages=bare.messages, tools=(Tool("f"),)),
        ModelCall("d", "e", "m", messages=(Message("user", "hi", images=("data:",)),)),
    ):
        assert tokens.usage_of(call, Reply("yes")).input_tokens > base.input_tokens
    for reply in (Reply("yes", "let me think"), Reply("yes", tool_calls=(ToolCall("f"),))):
        assert tokens.usage_of(bare, reply).output_tokens > base.output_tokens
    assert tokens.usage_of(bare, Reply("yes", "let me think")).reasoning_tokens == 3


# -- the wire -------------------------------------------------------------------------------------

_STREAM = (
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
    b"POST /b?q HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nhello world!"
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
)


@given(st.lists(st.integers(1, 60), min_size=1))
def test_requests_are_the_same_however_their_bytes_are_cut(sizes):
    reader, found, at, turn = RequestReader(lambda: None), [], 0, 0
    while at < len(_STREAM):
        size = sizes[turn % len(sizes)]
        reader.feed(_STREAM[at : at + size])
        at, turn = at + size, turn + 1
        while (request := reader.next()) is not None:
            found.append((request.path, request.query, request.body))
    assert found == [("/a", "", b"abc0123456789"), ("/b", "q", b"hello world!"), ("/", "", b"")]


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n", False),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
    ],
)
def test_a_request_says_whether_the_connection_is_kept(head, kept):
    reader = RequestReader(lambda: None)
    reader.feed(head + b"\r\n")
    request = reader.next()
    assert request is not None
    assert request.keep_alive is kept


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/9.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"GARB AGE\r\n",
    ],
)
def test_bytes_that_are_no_request_are_refused(data):
    reader = RequestReader(lambda: None)
    reader.feed(data)
    with pytest.raises(BadRequestError) as caught:
        reader.next()
    assert caught.value.status == 400


def test_a_head_without_end_is_refused():
    reader = RequestReader(lambda: None)
    reader.feed(b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000)
    with pytest.raises(BadRequestError) as caught:
        reader.next()
    assert caught.value.status == 431


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_json_is_read_back_as_it_was_written(value):
    written = jsonio.dumps(value)
    assert json.loads(written) == value
