"""What a script asks of a call: conditions, each of which can say what it wanted and what it found.

Text is compared whole, or looked for as whole words, or searched with a regular expression; never
as an accidental part of another word: ``contains="cat"`` is not found in "concatenate".
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.models.protocol import ModelCall, ToolResult

Text: TypeAlias = "str | re.Pattern[str]"

EXACT, PATTERN, DEFAULT = 2, 1, 0
"""How surely a script means a call: its text whole, a part or pattern of it, or any call."""


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """One thing a script asks of a call.

    :param name: as it is written in ``on(...)``.
    :param wanted: what was written there.
    :param rank: what it says of the script: EXACT, PATTERN, or DEFAULT for one that narrows the
        circle without looking at what is said (a model's name).
    """

    name: str
    wanted: Any
    rank: int
    holds: Callable[[ModelCall], bool] = dataclasses.field(repr=False)
    found: Callable[[ModelCall], str] = dataclasses.field(repr=False)
    pure: bool = True
    """Whether the same call is always judged the same."""

    def __str__(self) -> str:
        wanted = self.wanted
        shown = f"re({wanted.pattern!r})" if isinstance(wanted, re.Pattern) else repr(wanted)
        return f"{self.name}={shown}"


@functools.lru_cache(maxsize=1024)
def words(text: str) -> re.Pattern[str]:
    """What finds ``text`` where it is not part of a longer word.

    >>> bool(words("cat").search("a cat!")), bool(words("cat").search("concatenate"))
    (True, False)
    >>> bool(words("2+2").search("what is 2+2?"))
    True
    """
    before = r"(?<!\w)" if re.match(r"\w", text) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", text) else ""
    return re.compile(before + re.escape(text) + after)


def pattern_of(wanted: Text) -> re.Pattern[str]:
    """A compiled regular expression.

    :raises UsageError: when it is none.
    """
    try:
        return re.compile(wanted)
    except re.error as error:
        raise UsageError(
            "matches= takes a regular expression", found=f"{wanted!r}: {error}"
        ) from None


def text_is(wanted: str) -> Condition:
    """The last text of the user is this, whole."""
    return Condition("text", wanted, EXACT, lambda call: call.last_user_text == wanted, _user)


def contains(wanted: str | Iterable[str]) -> Condition:
    """The last text of the user has these words in it."""
    parts = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    finders = [words(part).search for part in parts]

    def holds(call: ModelCall) -> bool:
        text = call.last_user_text
        return all(find(text) for find in finders)

    return Condition("contains", wanted, PATTERN, holds, _user)


def matches(wanted: Text) -> Condition:
    """A regular expression is found in the last text of the user."""
    search = pattern_of(wanted).search
    return Condition(
        "matches", wanted, PATTERN, lambda call: search(call.last_user_text) is not None, _user
    )


def system_has(wanted: Text) -> Condition:
    """The system prompt is this, or has the pattern in it, or these words."""
    search = words(wanted).search if isinstance(wanted, str) else wanted.search
    return Condition(
        "system", wanted, PATTERN, lambda call: search(call.system) is not None, lambda c: c.system
    )


def model_is(wanted: Text | Collection[str]) -> Condition:
    """The model's name is this, or one of these, or matches the pattern as a whole. A name without
    a tag also means its tag ``latest``, as Ollama has it."""
    if isinstance(wanted, re.Pattern):
        full = wanted.fullmatch
        return Condition(
            "model", wanted, DEFAULT, lambda call: full(call.model) is not None, _model
        )
    names = {wanted} if isinstance(wanted, str) else set(wanted)
    names |= {f"{name}:latest" for name in names if ":" not in name}
    names |= {name.removesuffix(":latest") for name in names}
    return Condition("model", wanted, DEFAULT, lambda call: call.model in names, _model)


def tool_result(wanted: object) -> Condition:
    """A tool has returned something since the model spoke last: anything (True), nothing (False),
    a result of the tool so named, one with these words or this pattern in it, or all of a mapping
    from tool names to such."""

    def found(call: ModelCall) -> str:
        results = call.tool_results
        return ", ".join(f"{one.name or one.id}: {one.content}" for one in results) or "none"

    if isinstance(wanted, bool):

        def any_result(call: ModelCall) -> bool:
            return bool(call.tool_results) is wanted

        return Condition("tool_result", wanted, PATTERN, any_result, found)
    if isinstance(wanted, Mapping):
        each = {str(name): _in_text(value) for name, value in wanted.items()}

        def all_of(call: ModelCall) -> bool:
            return all(
                any(name in (one.name, one.id) and has(one) for one in call.tool_results)
                for name, has in each.items()
            )

        return Condition("tool_result", wanted, PATTERN, all_of, found)
    has = _in_text(wanted)
    return Condition(
        "tool_result",
        wanted,
        PATTERN,
        lambda call: any(wanted in (one.name, one.id) or has(one) for one in call.tool_results),
        found,
    )


def _in_text(wanted: object) -> Callable[[ToolResult], bool]:
    if isinstance(wanted, bool):
        return lambda result: wanted
    if isinstance(wanted, re.Pattern):
        finder = wanted
    elif isinstance(wanted, str):
        finder = words(wanted) if wanted else re.compile(r"\A\Z")
    else:
        raise UsageError(
            "tool_result= takes True, False, a text, a pattern or a mapping of tools to such",
            found=repr(wanted)[:80],
        )
    return lambda result: finder.search(result.content) is not None


def offers(wanted: str | Collection[str]) -> Condition:
    """The client offers this tool, or all of these."""
    names = {wanted} if isinstance(wanted, str) else set(wanted)
    return Condition(
        "tools",
        wanted,
        PATTERN,
        lambda call: names <= {tool.name for tool in call.tools},
        lambda call: ", ".join(tool.name for tool in call.tools) or "none",
    )


def field_is(name: str, wanted: object) -> Condition:
    """A plain field of the call (``dialect``, ``endpoint``, ``namespace``, ``stream``) is this."""
    return Condition(
        name,
        wanted,
        DEFAULT,
        lambda call: getattr(call, name) == wanted,
        lambda call: str(getattr(call, name)),
    )


def where(wanted: Callable[[ModelCall], bool]) -> Condition:
    """A function of the call says yes."""
    name = getattr(wanted, "__name__", "function")
    return Condition(
        "where",
        wanted,
        PATTERN,
        lambda call: bool(wanted(call)),
        lambda call: f"{name}: no",
        pure=False,
    )


def _user(call: ModelCall) -> str:
    return call.last_user_text


def _model(call: ModelCall) -> str:
    return call.model


__all__ = [
    "DEFAULT",
    "EXACT",
    "PATTERN",
    "Condition",
    "contains",
    "field_is",
    "matches",
    "model_is",
    "offers",
    "system_has",
    "text_is",
    "tool_result",
    "where",
    "words",
]
