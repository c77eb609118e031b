"""Scenarios: scripts that belong together, for a conversation that goes through states.

Turns in a row are recognised by how often the model has spoken in the conversation that the client
sends, so a client that tries again, or several conversations at once, disturb nothing. Where a
conversation does not go in a row, states do: each conversation is in one, and an answer may move
it to another.

    trip = server.scenario("trip")
    trip.turn(contains="flight").reply(ToolCall("search", {"to": "Oslo"}))
    trip.turn(tool_result="search").reply("Booked.")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UsageError
from windtunnel.models.conditions import DEFAULT, Condition
from windtunnel.models.protocol import ModelCall
from windtunnel.models.script import Script

if TYPE_CHECKING:
    from windtunnel.models.core import ModelCore

START = "start"
_KNOWN_CONVERSATIONS = 10_000


class Scenario:
    """Scripts of one name. Made by ``server.scenario(name)``."""

    def __init__(self, name: str, core: ModelCore) -> None:
        self.name = name
        self.scripts: list[Script] = []
        self._core = core
        self._turns = 0
        self._states: dict[tuple[str, str, str], str] = {}

    def turn(self, text: Any = None, **conditions: Any) -> Script:
        """The next turn: a script for calls in which the model has spoken once for each turn
        before. The conditions are those of ``server.on``."""
        number = self._turns
        self._turns += 1
        condition = Condition(
            "turn",
            number + 1,
            DEFAULT,
            lambda call: _spoken(call) == number,
            lambda call: str(_spoken(call) + 1),
        )
        return self._add(text, conditions, condition)

    def on(self, text: Any = None, *, state: str = START, **conditions: Any) -> Turn:
        """A script for conversations that are in a state; its :meth:`Turn.goto` says where an
        answer moves them. A new conversation is in ``start``."""
        condition = Condition(
            "state",
            state,
            DEFAULT,
            lambda call: self.state_of(call) == state,
            self.state_of,
            pure=False,
        )
        return Turn(self._add(text, conditions, condition), self)

    def state_of(self, call: ModelCall) -> str:
        """The state of the conversation a call belongs to. A conversation is known by namespace,
        system prompt and first message."""
        return self._states.get(_conversation(call), START)

    def move(self, call: ModelCall, state: str) -> None:
        """Put the conversation of a call into a state."""
        if len(self._states) >= _KNOWN_CONVERSATIONS:
            self._states.pop(next(iter(self._states)))
        self._states[_conversation(call)] = state

    @property
    def complete(self) -> bool:
        """Whether every script of it has answered."""
        return bool(self.scripts) and all(script.count for script in self.scripts)

    def assert_complete(self) -> None:
        """Every script of it has answered."""
        left = [str(script) for script in self.scripts if not script.count]
        if left or not self.scripts:
            listed = "\n  ".join(left) or "it has none"
            raise AssertionError(f"the scenario {self.name!r} never came to:\n  {listed}")

    def _add(self, text: Any, conditions: dict[str, Any], condition: Condition) -> Script:
        script = self._core.scripts.on(text, extra=(condition,), **conditions)
        self.scripts.append(script)
        return script

    def __repr__(self) -> str:
        done = sum(1 for script in self.scripts if script.count)
        return f"<Scenario {self.name!r}, {done} of {len(self.scripts)} answered>"


class Turn:
    """A script of a scenario with states."""

    def __init__(self, script: Script, scenario: Scenario) -> None:
        self.script = script
        self._scenario = scenario

    def reply(self, *answer: Any, **parts: Any) -> Turn:
        """Say what is answered; see :meth:`Script.reply`."""
        self.script.reply(*answer, **parts)
        return self

    def error(self, status: int, message: str = "", **parts: Any) -> Turn:
        """Answer with an error; see :meth:`Script.error`."""
        self.script.error(status, message, **parts)
        return self

    def goto(self, state: str) -> Turn:
        """Put the conversation into that state when it was answered."""
        if not state:
            raise UsageError("a state has a name", found=repr(state))
        self.script.on_answer = _mover(self._scenario, state)
        return self


def _mover(scenario: Scenario, state: str) -> Callable[[ModelCall], None]:
    return lambda call: scenario.move(call, state)


def _spoken(call: ModelCall) -> int:
    """How many turns the model had: messages of its own in a row are one."""
    turns, before = 0, ""
    for message in call.messages:
        if message.role == "assistant" and before != "assistant":
            turns += 1
        before = message.role
    return turns


def _conversation(call: ModelCall) -> tuple[str, str, str]:
    first = next((one.text for one in call.messages if one.role == "user"), "")
    return call.namespace, call.system, first


__all__ = ["START", "Scenario", "Turn"]
