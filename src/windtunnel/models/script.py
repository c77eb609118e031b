"""Scripts: what a test says a model answers, and to what.

``on(...)`` makes a script, ``reply(...)`` says its answers. Of several scripts that fit a call, one
that names the whole text goes before one that names a part or a pattern of it, and that before one
that fits any text; among those the one with more conditions, then the one written last. Where a
tool has just returned something, scripts with ``tool_result=`` go before all others: an agent's
loop sends the same user's text again with every result, and a script for that text, which had the
tool called, would have it called for ever.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.core.faults import Fault
from windtunnel.models import answers, conditions
from windtunnel.models.conditions import Condition, Text
from windtunnel.models.pace import Distribution, Pace, pace_of
from windtunnel.models.protocol import Kind, ModelCall, Reply, ToolCall, Usage

if TYPE_CHECKING:
    from windtunnel.models.state import ServerState

Nth: TypeAlias = "int | Collection[int]"
_SPOKEN = ("chat", "completion")


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a script decided for one call."""

    reply: answers.Made
    pace: Pace | None = None
    faults: tuple[Fault, ...] = ()
    script: Script | None = None
    fresh: bool = False
    """Whether the reply was made for this call alone."""


class Script:
    """One script: conditions, and the answers given when they hold. Made by ``server.on(...)``."""

    def __init__(
        self,
        asked: Iterable[Condition],
        *,
        nth: Nth | None = None,
        kind: Kind | None = None,
        order: int = 0,
        written: str = "",
    ) -> None:
        self.conditions = tuple(asked)
        self.kind = kind
        self.any_kind = False
        """Whether it is for calls of every kind."""
        self.written = written
        """Where it stands, as ``file:line``."""
        self.count = 0
        """How many calls it answered."""
        self.nth = {nth} if isinstance(nth, int) else None if nth is None else set(nth)
        self.order = order
        self.names: str | None = None
        """The model that ``set_response`` named."""
        self.pace: Pace | None = None
        self.on_answer: Callable[[ModelCall], None] | None = None
        self._holds = tuple(condition.holds for condition in self.conditions)
        self._holds_besides_text = tuple(
            condition.holds for condition in self.conditions if condition.name != "text"
        )
        self._met = 0
        self._answers: list[Any] = []
        self._then = "stop"
        self.faults: tuple[Fault, ...] = ()
        """What goes wrong with each of its answers."""
        self._times: int | None = None
        self._same = False  # whether there is one answer, for ever

    # -- what it answers -------------------------------------------------------------------------

    def reply(
        self,
        *sequence: Any,
        text: str = "",
        thinking: str = "",
        tool_calls: Iterable[ToolCall] = (),
        usage: Usage | None = None,
        latency: float | Distribution | Pace | None = None,
        faults: Iterable[Fault] = (),
        times: int | None = None,
        then: str = "",
        **fields: Any,
    ) -> Script:
        """Say what is answered.

        :param sequence: one answer, given every time; or several (or one list of them), given one
            after the other. See :mod:`windtunnel.models.answers` for what an answer may be.
        :param text: with ``thinking``, ``tool_calls``, ``usage`` and any other field of
            :class:`Reply`: an answer of these parts.
        :param latency: seconds, a distribution of seconds, or a :class:`Pace`, for this script.
        :param faults: what goes wrong with each of these answers.
        :param times: after so many calls the script answers no more.
        :param then: what follows the last answer of a sequence: ``"stop"`` (the script answers no
            more), ``"repeat"`` it, or ``"cycle"`` from the first again.
        :raises UsageError: for something that cannot be an answer.
        """
        given = list(_flattened(sequence))
        if thinking or text or usage or fields or tuple(tool_calls := tuple(tool_calls)):
            if given and (text or not isinstance(given[0], str) or len(given) > 1):
                raise UsageError(
                    "an answer is given whole or in parts, not both", found=repr(given[0])[:80]
                )
            said = given[0] if given else text
            given = [_reply_of(said, thinking, tool_calls, usage, fields)]
        if not given:
            raise UsageError("reply() needs an answer", found="none")
        for answer in given:
            if not isinstance(answer, Fault):
                answers.check(answer)
        if then not in ("", "stop", "repeat", "cycle"):
            raise UsageError('then= is "stop", "repeat" or "cycle"', found=repr(then))
        # The same words are the same reply every time, made once.
        self._answers = [Reply(one) if isinstance(one, str) else one for one in given]
        self._then = then or ("repeat" if len(given) == 1 else "stop")
        self.faults = tuple(faults)
        self._times = times
        self._same = len(given) == 1 and self._then == "repeat" and times is None
        self.pace = pace_of(latency)
        return self

    def error(
        self,
        status: int,
        message: str = "",
        *,
        kind: str = "",
        retry_after_s: float | None = None,
        times: int | None = None,
    ) -> Script:
        """Answer with an error, in the provider's own body.

        :param status: the HTTP status.
        :param kind: its cause, see :class:`ReplyError`; the usual one of the status by default.
        :param retry_after_s: seconds for the ``retry-after`` header.
        """
        made = answers.error(status, message, kind=kind, retry_after_s=retry_after_s)
        return self.reply(made, times=times)

    # -- when it answers -------------------------------------------------------------------------

    @property
    def rank(self) -> tuple[int, int, int]:
        """How early it is asked: exact before pattern before default, then by the number of its
        conditions, then the one written last."""
        surest = max((condition.rank for condition in self.conditions), default=0)
        return surest, len(self.conditions) + (self.nth is not None), self.order

    @property
    def spent(self) -> bool:
        """Whether it has given all its answers."""
        if self._times is not None and self.count >= self._times:
            return True
        return self._then == "stop" and self.count >= len(self._answers)

    def meets(self, call: ModelCall, *, text_is_known: bool = False) -> bool:
        """Whether all conditions but ``nth`` hold.

        :param text_is_known: whether the call was found by the text that the script wants.
        """
        if self.any_kind:
            pass
        elif self.kind is None:
            if call.kind not in _SPOKEN:
                return False
        elif call.kind != self.kind:
            return False
        besides = self._holds_besides_text if text_is_known else self._holds
        for holds in besides:  # noqa: SIM110 - a generator costs more than what it asks
            if not holds(call):
                return False
        return True

    def count_call(self) -> None:
        """Count a call that fits, for ``nth``, whoever answers it."""
        self._met += 1

    @property
    def ready(self) -> bool:
        """Whether it answers a call that fits now: it has an answer left, and it is its turn."""
        if self.nth is not None and self._met not in self.nth:
            return False
        if self._same:
            return True
        return bool(self._answers) and not self.spent

    def rewind(self) -> None:
        """Begin again with the first answer."""
        self.count = self._met = 0

    def take(self, call: ModelCall) -> Any:
        """The answer that is next."""
        given = self._answers
        if self._same and self.on_answer is None:
            self.count += 1
            return given[0]
        number = self.count % len(given) if self._then == "cycle" else self.count
        self.count += 1
        if self.on_answer is not None:
            self.on_answer(call)
        return given[min(number, len(given) - 1)]

    @property
    def whole_text(self) -> str | None:
        """The text it wants whole, None where it wants none."""
        for condition in self.conditions:
            if condition.name == "text":
                return str(condition.wanted)
        return None

    @property
    def awaits_result(self) -> bool:
        """Whether it is for what a tool has returned."""
        return any(condition.name == "tool_result" for condition in self.conditions)

    def __str__(self) -> str:
        asked = [str(condition) for condition in self.conditions]
        if self.nth is not None:
            asked.append(f"nth={sorted(self.nth)}")
        return f"on({', '.join(asked)})" + (f" at {self.written}" if self.written else "")

    def __repr__(self) -> str:
        return f"<Script {self}, answered {self.count}>"


class Scripts:
    """All scripts of a server, and the choice among them. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = itertools.count(1)
        self._all: tuple[Script, ...] = ()
        self.version = 0
        """Grows whenever a script is added or removed."""
        self._set(())

    def on(
        self,
        text: Text | None = None,
        *,
        model: Text | Collection[str] | None = None,
        contains: str | Iterable[str] | None = None,
        matches: Text | None = None,
        system: Text | None = None,
        tool_result: object = None,
        tools: str | Collection[str] | None = None,
        nth: Nth | None = None,
        kind: Kind | None = None,
        dialect: str | None = None,
        endpoint: str | None = None,
        namespace: str | None = None,
        stream: bool | None = None,
        where: Callable[[ModelCall], bool] | None = None,
        extra: Iterable[Condition] = (),
        written: str = "",
    ) -> Script:
        """A new script; it answers nothing until its :meth:`Script.reply` is called."""
        asked: list[Condition] = []
        if isinstance(text, str):
            asked.append(conditions.text_is(text))
        elif text is not None:
            asked.append(conditions.matches(text))
        makers: dict[str, tuple[Callable[[Any], Condition], object]] = {
            "model": (conditions.model_is, model),
            "contains": (conditions.contains, contains),
            "matches": (conditions.matches, matches),
            "system": (conditions.system_has, system),
            "tool_result": (conditions.tool_result, tool_result),
            "tools": (conditions.offers, tools),
            "where": (conditions.where, where),
        }
        asked += [make(value) for make, value in makers.values() if value is not None]
        plain = {
            "dialect": dialect,
            "endpoint": endpoint,
            "namespace": namespace,
            "stream": stream,
        }
        asked += [conditions.field_is(n, value) for n, value in plain.items() if value is not None]
        asked += extra
        script = Script(
            asked, nth=nth, kind=kind, order=next(self._number), written=written or _caller()
        )
        self.add(script)
        return script

    def add(self, script: Script) -> None:
        """Take a script in."""
        with self._lock:
            self._set((*self._all, script))

    def remove(self, script: Script) -> None:
        """Forget a script; nothing happens where it is not known."""
        with self._lock:
            self._set(tuple(known for known in self._all if known is not script))

    def clear(self) -> None:
        """Forget all scripts."""
        with self._lock:
            self._set(())

    def _set(self, scripts: tuple[Script, ...]) -> None:
        self._all = tuple(sorted(scripts, key=lambda script: script.rank, reverse=True))
        self._whole: dict[str, list[Script]] = {}
        for script in self._all:
            if (text := script.whole_text) is not None:
                self._whole.setdefault(text, []).append(script)
        self._parts = tuple(script for script in self._all if script.whole_text is None)
        self.pure = all(one.pure for script in self._all for one in script.conditions)
        self.version += 1

    def __iter__(self) -> Any:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def fitting(self, call: ModelCall) -> tuple[Script, ...]:
        """The scripts whose conditions hold, in the order in which they are asked."""
        whole = self._whole.get(call.last_user_text, ()) if self._whole else ()
        found = [script for script in whole if script.meets(call, text_is_known=True)]
        found += [script for script in self._parts if script.meets(call)]
        if len(found) > 1 and call.tool_results:
            found.sort(key=lambda script: not script.awaits_result)
        return tuple(found)

    def choose(
        self, call: ModelCall, state: ServerState, fitting: tuple[Script, ...]
    ) -> Outcome | None:
        """The answer of the first script, of those that fit, that is ready; None for none."""
        with self._lock:
            for script in fitting:
                if script.nth is not None:
                    script.count_call()
            for script in fitting:
                if script.ready:
                    answer = script.take(call)
                    break
            else:
                return None
        if type(answer) is Reply:
            return Outcome(answer, script.pace, script.faults, script)
        if isinstance(answer, Fault):
            reply: answers.Made = answers.default_reply(call, state)
            return Outcome(reply, script.pace, (answer, *script.faults), script)
        made = answers.made(answer, call, state)
        return Outcome(made, script.pace, script.faults, script, fresh=True)

    def names_model(self, name: str) -> bool:
        """Whether a script is for that very model."""
        for script in self._all:
            for condition in script.conditions:
                if condition.name == "model" and condition.holds(ModelCall("", "", name)):
                    return True
        return False


def _flattened(sequence: tuple[Any, ...]) -> Iterable[Any]:
    if len(sequence) == 1 and isinstance(sequence[0], list | tuple):
        inside = sequence[0]
        calls = inside and all(isinstance(part, ToolCall) for part in inside)
        return (inside,) if calls else inside
    return sequence


def _reply_of(
    said: object,
    thinking: str,
    tool_calls: Iterable[ToolCall],
    usage: Usage | None,
    fields: Mapping[str, Any],
) -> Reply:
    if not isinstance(said, str):
        raise UsageError("text= takes a text", found=repr(said)[:80])
    try:
        return Reply(said, thinking, tuple(tool_calls), usage=usage, **fields)
    except TypeError as error:
        known = ", ".join(field.name for field in dataclasses.fields(Reply))
        raise UsageError("a reply has no such part", found=str(error), fix=f"use {known}") from None


def _caller() -> str:
    """The file and line of whoever, outside this room, writes the script."""
    frame = sys._getframe(2)
    while frame.f_back is not None and "/windtunnel/models/" in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
