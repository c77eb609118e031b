"""What goes wrong with an answer: as a plan says it, and as a client on a socket meets it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest
from tiny_dialect import asked, said, sent

from windtunnel.core.errors import UsageError
from windtunnel.core.faults import Fault, FaultPlan
from windtunnel.core.seed import Seed
from windtunnel.models import ModelServer, fault, serve
from windtunnel.models.faults import VERBS


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("tiny",), seed=Seed(7)) as server:
        server.on("hello").reply("one two three ä")
        yield server


def post(server: ModelServer, *, timeout: float = 10, **more) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=timeout)
    try:
        connection.request("POST", "/tiny/say", json.dumps({"text": "hello", **more}))
        answer = connection.getresponse()
        return answer.status, answer.getheader("content-type", ""), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("verb", "status", "kind"),
    [
        ("status", 500, "server"),
        ("rate_limit", 429, "rate_limit"),
        ("quota", 429, "quota"),
        ("overloaded", 529, "overloaded"),
        ("content_filter", 400, "content_filter"),
        ("context_length", 400, "context_length"),
        ("unloading", 503, "unavailable"),
    ],
)
def test_an_error_is_of_its_kind_and_says_when_to_come_again(server, verb, status, kind):
    server.fail_next(fault=verb, retry_after_s=3)
    plan = server.core.handle(asked())
    assert sent(plan)[0] == status
    assert sent(plan)[1]["retry-after"] == "3"
    assert said(plan)["error"]["kind"] == kind
    assert post(server)[0] == 200


@pytest.mark.parametrize(
    ("verb", "arguments", "error"),
    [
        ("reset", {}, ConnectionResetError),
        ("reset", {"after_bytes": 5}, (ConnectionResetError, http.client.IncompleteRead)),
        ("close", {}, http.client.RemoteDisconnected),
        ("close", {"after_bytes": 5}, http.client.IncompleteRead),
        ("truncate", {"missing": 3}, http.client.IncompleteRead),
        ("stall", {}, TimeoutError),
        ("stall", {"after_bytes": 5}, TimeoutError),
    ],
)
def test_a_connection_that_breaks_is_an_error_of_the_client(server, verb, arguments, error):
    server.fail_next(fault=verb, **arguments)
    with pytest.raises(error):
        # Who waits for nothing times out; what breaks does so however late the server is.
        post(server, timeout=0.2 if verb == "stall" else 60)
    assert post(server)[0] == 200


@pytest.mark.parametrize("verb", ["reset", "close", "stall"])
def test_a_stream_breaks_after_so_many_chunks(server, verb):
    plan = _bent(server, verb, after_chunks=2)
    data = b"".join(step.data for step in plan.steps)
    assert plan.ending == verb
    assert data.count(b'"text"') == 1
    assert data.endswith(b'{"text":"one"}\n\r\n')


def _bent(server: ModelServer, verb: str, **arguments):
    server.fail_next(fault=verb, **arguments)
    return server.core.handle(asked(stream=True))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("slow_drip", {"pause_s": 0.0001}),
        ("split_utf8", {"pause_s": 0.0001}),
        ("split_frames", {"size": 3, "pause_s": 0.0001}),
        ("delay", {"seconds": 0.001}),
    ],
)
def test_bytes_that_come_oddly_are_still_the_same_bytes(server, verb, arguments, stream):
    whole = post(server, stream=stream)[2]
    server.fail_next(fault=verb, **arguments)
    found = post(server, stream=stream)[2]
    if stream:
        assert found == whole
    else:
        assert json.loads(found)["text"] == json.loads(whole)["text"]
    assert server.last_request.faults[0].verb == verb


def test_a_character_of_several_bytes_is_cut_in_two(server):
    plan = _bent(server, "split_utf8")
    assert any(step.data.endswith("ä".encode()[:1]) for step in plan.steps)


@pytest.mark.parametrize(
    ("verb", "arguments", "events"),
    [
        ("missing_event", {"event": "begin"}, ["text", "text", "text", "text", "end"]),
        ("missing_event", {"event": "end"}, ["begin", "text", "text", "text", "text"]),
        ("duplicate_event", {"event": "end"}, ["begin", *["text"] * 4, "end", "end"]),
        ("duplicate_event", {"number": 1}, ["begin", *["text"] * 5, "end"]),
        ("error_event", {"after": 2}, ["begin", "text", "error"]),
    ],
)
def test_frames_are_missing_doubled_or_an_error(server, verb, arguments, events):
    body = sent(_bent(server, verb, **arguments))[2]
    assert [next(iter(json.loads(line))) for line in body.splitlines()] == events


def test_malformed_json_is_no_json_and_a_wrong_content_type_is_another(server):
    server.fail_next(fault="malformed_json")
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(post(server)[2])
    server.fail_next(fault="malformed_json", number=1)
    lines = post(server, stream=True)[2].splitlines()
    assert lines[0] == b'{"begin":true}'
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(lines[1])
    server.fail_next(fault="wrong_content_type")
    assert post(server)[1] == "text/html"


def test_a_script_may_fail_in_a_sequence(server):
    server.on("again").reply(fault("overloaded"), "ok")
    first = sent(server.core.handle(asked("again")))[0]
    assert (first, said(server.core.handle(asked("again")))["text"]) == (529, "ok")


def test_a_plan_of_faults_befalls_what_it_names_when_its_time_has_come():
    clock = Hand()
    server = ModelServer(("tiny",), clock=clock)
    plan = FaultPlan.of(
        [
            Fault("overloaded", "m1", at_s=10, until_s=20),
            Fault("status", "*", at_s=30, arguments={"status": 418, "times": 1}),
        ]
    )
    server.stand_under(FaultPlan.from_json(plan.to_json()))

    def statuses() -> list[int]:
        return [sent(server.core.handle(asked(model=name)))[0] for name in ("m1", "m2")]

    found = {}
    for clock.now in (5.0, 15.0, 25.0, 35.0):
        found[clock.now] = statuses()
    assert found == {5: [200, 200], 15: [529, 200], 25: [200, 200], 35: [418, 200]}


def test_a_likely_fault_befalls_the_same_requests_under_the_same_seed():
    def run(seed: int) -> list[int]:
        server = ModelServer(("tiny",), seed=Seed(seed))
        server.stand_under(FaultPlan.of([Fault("status", "*", arguments={"probability": 0.5})]))
        return [sent(server.core.handle(asked()))[0] for _ in range(40)]

    assert run(1) == run(1)
    assert set(run(1)) == {200, 500}
    assert run(1) != run(2)


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_verb_that_is_unknown_is_refused_with_those_that_are_not(server):
    with pytest.raises(UsageError, match="no such fault") as caught:
        fault("storm")
    assert all(verb in str(caught.value) for verb in VERBS)
    with pytest.raises(UsageError):
        server.stand_under(FaultPlan.of([Fault("partition", "a->b")]))
    with pytest.raises(UsageError):
        server.fail_next(fault="storm")


def test_a_server_that_is_refused_has_nobody_listening_until_it_listens_again(server):
    address = server.host, server.port
    server.refuse_connections()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(address)  # the port stays the server's
    server.accept_connections()
    assert (server.host, server.port) == address
    assert post(server)[0] == 200


def test_a_server_that_is_stopped_while_it_is_refused_gives_up_its_port():
    server = serve(("tiny",)).start()
    server.refuse_connections()
    server.stop()
    with socket.socket() as other:
        other.bind((server.host, server.port))


def test_a_plan_may_refuse_connections_for_a_while(server):
    server.stand_under(FaultPlan.of([Fault("refused", "*", at_s=0)]))
    with pytest.raises(ConnectionResetError):
        post(server)
    server.stand_under(FaultPlan())
    assert post(server)[0] == 200
