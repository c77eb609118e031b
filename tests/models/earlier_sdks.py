"""What an earlier release of an official client gets of a server, as one JSON line.

Run as ``python earlier_sdks.py CLIENT URL`` with the release first on the path. Not a test: a test
reads what it writes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

HI: Any = [{"role": "user", "content": "hi"}]
USE: Any = [{"role": "user", "content": "weather"}]
CLAUDE = "claude-sonnet-4-5-20250929"
TOOL: Any = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
GEMINI = "gemini-2.5-flash"


def anthropic_(url: str) -> dict[str, Any]:
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="key", max_retries=0)
    whole = client.messages.create(model=CLAUDE, max_tokens=9, messages=HI)
    with client.messages.stream(model=CLAUDE, max_tokens=9, messages=HI) as stream:
        parts = list(stream.text_stream)
    used = client.messages.create(model=CLAUDE, max_tokens=9, messages=USE, tools=[TOOL])
    try:
        client.messages.create(model=CLAUDE, max_tokens=9, messages=[])
        error = "none"
    except anthropic.BadRequestError as raised:
        error = raised.body["error"]["type"]  # type: ignore[index, call-overload]

    async def later() -> str:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="key") as later_client:
            made = await later_client.messages.create(model=CLAUDE, max_tokens=9, messages=HI)
        return made.content[0].text  # type: ignore[union-attr]

    return {
        "version": anthropic.__version__,
        "text": whole.content[0].text,  # type: ignore[union-attr]
        "parts": parts,
        "call": used.content[0].input,  # type: ignore[union-attr]
        "error": error,
        "later": asyncio.run(later()),
        "models": len(client.models.list().data),
    }


def genai_(url: str) -> dict[str, Any]:
    from google import genai
    from google.genai import errors, types

    client = genai.Client(api_key="key", http_options=types.HttpOptions(base_url=url))
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather")])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    models = client.models
    used = models.generate_content(model=GEMINI, contents="weather", config=config)
    try:
        hot = types.GenerateContentConfig(temperature=9)
        models.generate_content(model=GEMINI, contents="hi", config=hot)
        error = "none"
    except errors.ClientError as raised:
        error = str(raised.status)

    async def later() -> str | None:
        made = await client.aio.models.generate_content(model=GEMINI, contents="hi")
        return made.text

    stream = models.generate_content_stream(model=GEMINI, contents="hi")
    return {
        "version": genai.__version__,
        "text": models.generate_content(model=GEMINI, contents="hi").text,
        "parts": [part.text for part in stream],
        "call": (used.function_calls or [None])[0].args,  # type: ignore[union-attr]
        "error": error,
        "later": asyncio.run(later()),
        "models": len(list(models.list())),
    }


def ollama_(url: str) -> dict[str, Any]:
    import importlib.metadata

    import ollama

    client = ollama.Client(url)
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
    used = client.chat("llama3.2", USE, tools=[tool])
    try:
        client.chat("nope", HI)
        error = "none"
    except ollama.ResponseError as raised:
        error = str(raised.status_code)

    async def later() -> str | None:
        made = await ollama.AsyncClient(url).chat("llama3.2", HI)
        return made["message"]["content"]

    return {
        "version": importlib.metadata.version("ollama"),
        "text": client.chat("llama3.2", HI)["message"]["content"],
        "parts": [part["message"]["content"] for part in client.chat("llama3.2", HI, stream=True)],
        "call": used["message"]["tool_calls"][0]["function"]["arguments"],
        "error": error,
        "later": asyncio.run(later()),
        "models": len(client.list()["models"]),
    }


if __name__ == "__main__":
    asked = {"anthropic": anthropic_, "google-genai": genai_, "ollama": ollama_}[sys.argv[1]]
    print(json.dumps(asked(sys.argv[2])))
