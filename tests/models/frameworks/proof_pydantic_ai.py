"""pydantic-ai's agents on Anthropic, Gemini and Ollama against the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.ollama import OllamaProvider

from windtunnel.models import ModelServer, ToolCall, serve


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve() as started:
        yield started


@pytest.fixture(params=["anthropic", "gemini", "ollama"])
def model(request: pytest.FixtureRequest, server: ModelServer):
    if request.param == "anthropic":
        provider = AnthropicProvider(api_key="key", base_url=server.url)
        return AnthropicModel("claude-opus-5-5", provider=provider)
    if request.param == "gemini":
        options = types.HttpOptions(base_url=server.url)
        client = genai.Client(api_key="key", http_options=options)
        return GoogleModel("gemini-2.5-flash", provider=GoogleProvider(client=client))
    provider = OllamaProvider(base_url=server.url + "/ollama/v1")
    return OpenAIChatModel("qwen3", provider=provider)


def test_an_agent_answers_and_counts_tokens(server: ModelServer, model) -> None:
    server.on("hi").reply("Hello, you!")
    done = asyncio.run(Agent(model).run("hi"))
    assert done.output == "Hello, you!"
    used = done.usage
    assert (used.input_tokens, used.output_tokens) == (7, 4)


def test_an_agent_calls_its_tool(server: ModelServer, model) -> None:
    asked = []
    agent = Agent(model, instructions="Be short.")

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Weather of a city."""
        asked.append(city)
        return "21 degrees"

    server.on(contains="weather").reply(ToolCall("get_weather", {"city": "Paris"}))
    server.on(tool_result={"get_weather": "21 degrees"}).reply("It is 21 degrees.")
    done = asyncio.run(agent.run("weather in Paris?"))
    assert (done.output, asked) == ("It is 21 degrees.", ["Paris"])


def test_an_agents_output_is_of_its_type(server: ModelServer, model) -> None:
    assert isinstance(asyncio.run(Agent(model, output_type=Person).run("who?")).output, Person)


def test_an_agent_streams(server: ModelServer, model) -> None:
    async def stream() -> str:
        async with Agent(model).run_stream("hi") as running:
            return await running.get_output()

    server.set_response("Hello, you!")
    assert asyncio.run(stream()) == "Hello, you!"
