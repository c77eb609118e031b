"""What workers can do: named functions from text to text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """One thing a worker can do. ``description`` is what the model reads to choose it."""

    name: str
    description: str
    run: Callable[[str], str]


REGISTRY: dict[str, Tool] = {}


def tool(description: str) -> Callable[[Callable[[str], str]], Callable[[str], str]]:
    """Register a function under its own name."""

    def register(function: Callable[[str], str]) -> Callable[[str], str]:
        name = function.__name__
        REGISTRY[name] = Tool(name, description, function)
        return function

    return register


def catalogue() -> str:
    """All tools, a line each, as the planner's prompt shows them."""
    return "\n".join(f"- {t.name}: {t.description}" for t in REGISTRY.values())


@tool("how many words the text has")
def count_words(text: str) -> str:
    return str(len(text.split()))


@tool("the text in capital letters")
def upper(text: str) -> str:
    return text.upper()


@tool("the words of the text in reverse order")
def reverse_words(text: str) -> str:
    return " ".join(reversed(text.split()))


@tool("the sum of all whole numbers in the text")
def add(text: str) -> str:
    return str(sum(int(number) for number in re.findall(r"-?\d+", text)))
