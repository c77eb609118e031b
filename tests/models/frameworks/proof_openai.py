"""litellm, langchain-openai and pydantic-ai over OpenAI's API; run in an environment of their own
by ``test_openai_frameworks.py``."""

from __future__ import annotations

import asyncio

import litellm
import pydantic
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic_ai import Agent, models
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from windtunnel.models import ToolCall, serve

models.ALLOW_MODEL_REQUESTS = True
HI = [{"role": "user", "content": "hi"}]


class Person(pydantic.BaseModel):
    name: str
    age: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"-3 in {city}"


@pytest.fixture(scope="module")
def house():
    with serve(("openai",)) as started:
        yield started


@pytest.fixture
def server(house):
    house.reset()
    return house


@pytest.fixture(scope="module")
def runner():
    """One event loop for all: langchain keeps its asynchronous client for longer than a test."""
    with asyncio.Runner() as made:
        yield made


# -- litellm --------------------------------------------------------------------------------------


def _litellm(server, **more):
    known = {"api_base": f"{server.url}/v1", "api_key": "k", "num_retries": 0, "max_retries": 0}
    return {"model": "openai/gpt-4o", "messages": HI, **known, **more}


def test_litellm_plain_streamed_and_asynchronous(server):
    server.set_response("Hello, you!")
    made = litellm.completion(**_litellm(server))
    assert made.choices[0].message.content == "Hello, you!"
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0
    chunks = litellm.completion(**_litellm(server, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello, you!"
    again = asyncio.run(litellm.acompletion(**_litellm(server)))
    assert again.choices[0].message.content == "Hello, you!"


def test_litellm_tools_structured_output_and_embeddings(server):
    server.on("hi").reply(ToolCall("weather", {"city": "Oslo"}), {"name": "Ada", "age": 36})
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    called = litellm.completion(**_litellm(server, tools=tools)).choices[0].message.tool_calls[0]
    assert (called.function.name, called.function.arguments) == ("weather", '{"city":"Oslo"}')
    made = litellm.completion(**_litellm(server, response_format=Person))
    assert Person.model_validate_json(made.choices[0].message.content).age == 36
    known = {"api_base": f"{server.url}/v1", "api_key": "k"}
    found = litellm.embedding(model="openai/text-embedding-3-small", input=["hi"], **known)
    assert len(found.data[0]["embedding"]) == 1536


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, litellm.AuthenticationError),
        (429, litellm.RateLimitError),
        (500, litellm.InternalServerError),
    ],
)
def test_litellm_errors(server, status, kind):
    server.fail_next(status=status)
    with pytest.raises(kind):
        litellm.completion(**_litellm(server))


def test_litellm_knows_a_context_that_is_too_long(server):
    server.fail_next(fault="context_length")
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**_litellm(server))


# -- langchain ------------------------------------------------------------------------------------


def _langchain(server, **more):
    return ChatOpenAI(
        model="gpt-4o", base_url=f"{server.url}/v1", api_key="k", max_retries=0, **more
    )


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
def test_langchain_plain_streamed_and_asynchronous(server, runner, responses):
    server.set_response("Hello, you!")
    model = _langchain(server, use_responses_api=responses)
    made = model.invoke("hi")
    assert made.text == "Hello, you!"
    assert made.usage_metadata["total_tokens"] > 0
    assert "".join(chunk.text for chunk in model.stream("hi")) == "Hello, you!"
    assert runner.run(model.ainvoke("hi")).text == "Hello, you!"


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
def test_langchain_tools_there_and_back(server, responses):
    server.on(contains="weather").reply(
        [ToolCall("weather", {"city": c}) for c in ("Oslo", "Rome")]
    )
    server.on(tool_result="-3 in Oslo").reply("Cold.")
    model = _langchain(server, use_responses_api=responses).bind_tools([weather])
    talk = [HumanMessage("weather?")]
    called = model.invoke(talk)
    talk += [called, *(weather.invoke(call) for call in called.tool_calls)]
    assert len(talk) == 4
    assert model.invoke(talk).text == "Cold."


def test_langchain_structured_output_and_embeddings(server):
    for method in ("json_schema", "function_calling"):
        made = _langchain(server).with_structured_output(Person, method=method).invoke("hi")
        assert isinstance(made, Person)
    found = OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=f"{server.url}/v1",
        api_key="k",
        check_embedding_ctx_length=False,
    ).embed_documents(["a", "b"])
    assert [len(one) for one in found] == [1536, 1536]


# -- pydantic-ai ----------------------------------------------------------------------------------


def _model(server, kind):
    return kind("gpt-4o", provider=OpenAIProvider(base_url=f"{server.url}/v1", api_key="k"))


KINDS = pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])


@KINDS
def test_pydantic_ai_plain_and_streamed(server, kind):
    server.set_response("Hello, you!")
    agent = Agent(_model(server, kind))
    made = agent.run_sync("hi")
    assert made.output == "Hello, you!"

    async def streamed():
        async with agent.run_stream("hi") as stream:
            return [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]

    assert "".join(asyncio.run(streamed())) == "Hello, you!"


@KINDS
def test_pydantic_ai_tools_and_structured_output(server, kind):
    server.on(contains="weather").reply(ToolCall("weather", {"city": "Oslo"}))
    server.on(tool_result="-3").reply(ToolCall("final_result", {"name": "Ada", "age": 36}))
    agent = Agent(_model(server, kind), output_type=Person)
    asked = []

    @agent.tool_plain
    def weather(city: str) -> str:
        asked.append(city)
        return "-3"

    assert agent.run_sync("the weather?").output == Person(name="Ada", age=36)
    assert asked == ["Oslo"]


def test_pydantic_ai_errors(server):
    server.set_error(403, "because")
    with pytest.raises(ModelHTTPError) as raised:
        Agent(_model(server, OpenAIChatModel)).run_sync("hi")
    assert raised.value.status_code == 403
