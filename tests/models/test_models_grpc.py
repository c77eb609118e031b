"""Google's gRPC clients: a channel to the provider leads to the server, and no further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.ai import generativelanguage_v1beta as google
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions

from windtunnel.models import ModelServer, ToolCall
from windtunnel.models.wiring import EgressError

MODEL = "models/gemini-2.5-flash"
OPTIONS = ClientOptions(api_key="any")


def asked(text: str, **more: Any) -> google.GenerateContentRequest:
    contents = [google.Content(role="user", parts=[google.Part(text=text)])]
    return google.GenerateContentRequest(model=MODEL, contents=contents, **more)


def said(answer: google.GenerateContentResponse) -> str:
    return "".join(part.text for part in answer.candidates[0].content.parts)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(("gemini",)) as server:
        yield server.open_in_process()


@pytest.fixture
def client(server: ModelServer) -> google.GenerativeServiceClient:
    return google.GenerativeServiceClient(client_options=OPTIONS, transport="grpc")


def test_a_call_is_answered_by_the_scripts(server, client):
    server.on(contains="hi").reply("Grüß Gott!")
    answer = client.generate_content(asked("hi"))
    assert said(answer) == "Grüß Gott!"
    assert answer.candidates[0].finish_reason == google.Candidate.FinishReason.STOP
    used = answer.usage_metadata
    assert used.total_token_count == used.prompt_token_count + used.candidates_token_count > 0
    assert server.last_request.call.last_user_text == "hi"


def test_a_tool_is_called_with_arguments_and_its_result_sent_back(server, client):
    server.on(contains="weather").reply(ToolCall("look", {"city": "Oslo", "days": 2}))
    server.on(tool_result={"look": "rain"}).reply("Take an umbrella.")
    schema = google.Schema(
        type_=google.Type.OBJECT, properties={"city": google.Schema(type_=google.Type.STRING)}
    )
    tool = google.Tool(
        function_declarations=[google.FunctionDeclaration(name="look", parameters=schema)]
    )
    request = asked("weather?", tools=[tool])
    called = client.generate_content(request).candidates[0].content
    assert dict(called.parts[0].function_call.args) == {"city": "Oslo", "days": 2}
    result = google.FunctionResponse(name="look", response={"sky": "rain"})
    request.contents += [
        called,
        google.Content(role="user", parts=[google.Part(function_response=result)]),
    ]
    assert said(client.generate_content(request)) == "Take an umbrella."


def test_a_stream_comes_part_by_part_and_breaks_off_where_the_server_does(server, client):
    server.set_response("one two three")
    parts = [said(part) for part in client.stream_generate_content(asked("count"))]
    assert parts == ["one", " two", " three"]
    server.fail_next(fault="reset", after_chunks=2)
    found = []
    with pytest.raises(exceptions.ServiceUnavailable):
        found.extend(said(part) for part in client.stream_generate_content(asked("count")))
    assert len(found) < 3


def test_tokens_embeddings_and_models(client):
    contents = asked("how many?").contents
    assert client.count_tokens(model=MODEL, contents=contents).total_tokens > 0
    embedder, content = "models/gemini-embedding-001", google.Content(parts=[{"text": "a"}])
    one = client.embed_content(model=embedder, content=content).embedding.values
    request = google.EmbedContentRequest(model=embedder, content=content)
    many = client.batch_embed_contents(model=embedder, requests=[request, request]).embeddings
    assert [list(each.values) for each in many] == [list(one)] * 2
    models = google.ModelServiceClient(client_options=OPTIONS, transport="grpc")
    assert MODEL in [model.name for model in models.list_models()]
    assert models.get_model(name=MODEL).display_name == "Gemini 2.5 Flash"


@pytest.mark.parametrize(
    ("fails", "raised"),
    [
        ({"status": 429}, exceptions.ResourceExhausted),
        ({"status": 404}, exceptions.NotFound),
        ({"status": 503}, exceptions.ServiceUnavailable),
        ({"fault": "reset"}, exceptions.ServiceUnavailable),
        ({"fault": "stall"}, exceptions.DeadlineExceeded),
    ],
    ids=str,
)
def test_what_goes_wrong_is_raised_as_google_s_client_raises_it(server, client, fails, raised):
    server.fail_next(**fails)
    patience = 0.2 if fails.get("fault") == "stall" else 60  # the others come, however late
    with pytest.raises(raised):
        client.generate_content(asked("hi"), retry=None, timeout=patience)


def test_a_key_is_asked_for_where_it_can_be_seen():
    with ModelServer(("gemini",), api_key="right") as server:
        server.open_in_process()
        client = google.GenerativeServiceClient(client_options=OPTIONS, transport="grpc")
        assert client.generate_content(asked("hi"))  # the key is in the channel's credentials
        assert client.generate_content(asked("hi"), metadata=[("x-goog-api-key", "right")])
        with pytest.raises(exceptions.InvalidArgument, match="API key not valid"):
            client.generate_content(asked("hi"), metadata=[("x-goog-api-key", "wrong")])


def test_a_request_that_google_would_refuse_is_refused(client):
    with pytest.raises(exceptions.InvalidArgument, match="contents is not specified"):
        client.generate_content(google.GenerateContentRequest(model=MODEL))


@pytest.mark.asyncio
async def test_an_asynchronous_client_in_an_asynchronous_test(model_server):
    model_server.set_response("one two")
    client = google.GenerativeServiceAsyncClient(client_options=OPTIONS)
    assert said(await client.generate_content(asked("count"))) == "one two"
    stream = await client.stream_generate_content(asked("count"))
    assert [said(part) async for part in stream] == ["one", " two"]
    model_server.fail_next(status=429)
    with pytest.raises(exceptions.ResourceExhausted):
        await client.generate_content(asked("count"), retry=None)


def test_other_providers_are_out_of_reach_and_other_servers_are_not(server):
    with pytest.raises(EgressError, match=r"aiplatform\.googleapis\.com"):
        grpc.secure_channel("aiplatform.googleapis.com:443", grpc.ssl_channel_credentials())
    ours = grpc.insecure_channel("dns:///generativelanguage.googleapis.com:443")
    other = grpc.insecure_channel("localhost:1")
    assert type(ours) is not type(other)
    other.close()
    server.stop()
    call = ours.unary_unary("/google.ai.generativelanguage.v1beta.ModelService/GetModel")
    with pytest.raises(grpc.RpcError) as raised:
        call(b"")
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    again = grpc.insecure_channel("generativelanguage.googleapis.com")
    assert type(again) is type(other)
    again.close()


def test_a_method_that_rest_has_not_is_unimplemented(server):
    channel = grpc.insecure_channel("generativelanguage.googleapis.com")
    call = channel.unary_unary("/google.ai.generativelanguage.v1beta.CacheService/Wizardry")
    with pytest.raises(grpc.RpcError) as raised:
        call(b"")
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
