"""LangChain's chat models for Ollama and Anthropic against the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from pydantic import BaseModel

from windtunnel.models import ModelServer, ToolCall, serve


@tool
def get_weather(city: str) -> str:
    """Weather of a city."""
    return f"{city}: 21 degrees"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("ollama", "anthropic")) as started:
        yield started


@pytest.fixture(params=["ollama", "anthropic"])
def model(request: pytest.FixtureRequest, server: ModelServer):
    if request.param == "ollama":
        return ChatOllama(model="qwen3", base_url=server.url)
    return ChatAnthropic(
        model_name="claude-sonnet-4-5-20250929", base_url=server.url, api_key="key", max_retries=0
    )


def test_it_is_invoked_and_counts_tokens(server: ModelServer, model) -> None:
    server.on("hi").reply("Hello, you!")
    answer = model.invoke("hi")
    assert answer.text == "Hello, you!"
    assert answer.usage_metadata["output_tokens"] == 4
    assert answer.usage_metadata["input_tokens"] == 7


def test_it_streams(server: ModelServer, model) -> None:
    server.set_response("Hello, you!")
    parts = list(model.stream("hi"))
    assert "".join(part.text for part in parts) == "Hello, you!"
    assert len(parts) >= 4


def test_it_is_invoked_asynchronously(server: ModelServer, model) -> None:
    server.set_response("Hello, you!")
    assert asyncio.run(model.ainvoke("hi")).text == "Hello, you!"


def test_an_agents_loop_calls_a_tool(server: ModelServer, model) -> None:
    server.on(contains="weather").reply(ToolCall("get_weather", {"city": "Paris"}))
    server.on(tool_result={"get_weather": "21 degrees"}).reply("It is 21 degrees.")
    bound = model.bind_tools([get_weather])
    messages = [HumanMessage("weather in Paris?")]
    asked = bound.invoke(messages)
    assert isinstance(asked, AIMessage)
    (used,) = asked.tool_calls
    result = ToolMessage(
        get_weather.invoke(used["args"]), tool_call_id=used["id"], name=used["name"]
    )
    assert bound.invoke([*messages, asked, result]).text == "It is 21 degrees."


def test_structured_output_is_parsed(server: ModelServer, model) -> None:
    assert isinstance(model.with_structured_output(Person).invoke("who?"), Person)


def test_documents_are_embedded(server: ModelServer) -> None:
    embeddings = OllamaEmbeddings(model="nomic-embed-text", base_url=server.url)
    first, second = embeddings.embed_documents(["a", "b"])
    assert len(first) == len(second) == 768
    assert embeddings.embed_query("a") == first
