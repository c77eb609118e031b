"""What a test asserts of the calls a server had, in words that say what was found instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.models import secrets
from windtunnel.models.journal import Journal, Recorded
from windtunnel.models.nearest import explain
from windtunnel.models.protocol import ModelCall
from windtunnel.models.script import Script, Scripts


class Asserting:
    """Assertions over the journal of a server; :class:`ModelServer` has them as methods."""

    core: Any

    def matching(self, text: Any = None, **conditions: Any) -> list[Recorded]:
        """The calls, of those that are kept, that conditions hold for; they are those of
        ``on(...)``, but ``nth``."""
        script = _script(text, conditions)
        return [one for one in self._kept() if one.call is not None and script.meets(one.call)]

    def assert_called(
        self, text: Any = None, *, times: int | None = None, **conditions: Any
    ) -> list[Recorded]:
        """A call for which the conditions hold was made; ``times`` of them, where given.

        :returns: these calls.
        :raises UsageError: like all that look at every call, where the server has had more requests
            than it keeps, and those that are gone could decide.
        """
        found = self.matching(text, **conditions)
        if times is not None or not found:
            self._calls()
        script = _script(text, conditions)
        asked = str(script).partition(" at ")[0].replace("on(", "(", 1)
        if times is None and not found:
            calls = self._kept()
            last = calls[-1].call if calls else None
            why = explain(last, [script]) if last is not None else "no model was called at all"
            raise AssertionError(f"no call {asked} was made; the last one: {why}{self._listed()}")
        if times is not None and len(found) != times:
            raise AssertionError(
                f"calls {asked}: {times} expected, {len(found)} made{self._listed()}"
            )
        return found

    def assert_not_called(self, text: Any = None, **conditions: Any) -> None:
        """No call was made for which the conditions hold."""
        self.assert_called(text, times=0, **conditions)

    def assert_all_used(self) -> None:
        """Every script has answered at least once."""
        unused = [str(script) for script in self.core.scripts if not script.count]
        if unused:
            raise AssertionError("scripts that never answered:\n  " + "\n  ".join(unused))

    def assert_tool_calls(self, names: Sequence[str], *, exactly: bool = True) -> None:
        """The model called these tools, in that order.

        :param exactly: no others, too; else others may stand between them.
        """
        made = [
            used.name
            for one in self._calls()
            if one.reply is not None
            for used in one.reply.tool_calls
        ]
        wanted = list(names)
        if exactly:
            if made != wanted:
                raise AssertionError(f"tool calls: expected {wanted}, made {made}")
            return
        rest = iter(made)
        for name in wanted:
            if name not in rest:
                raise AssertionError(f"tool calls: expected {wanted} in order, made {made}")

    def assert_tokens(
        self,
        *,
        input: int | None = None,
        output: int | None = None,
        total: int | None = None,
    ) -> None:
        """No more tokens were used than that, all calls together."""
        read, written = self.tokens
        for name, used, allowed in (
            ("input", read, input),
            ("output", written, output),
            ("total", read + written, total),
        ):
            if allowed is not None and used > allowed:
                raise AssertionError(
                    f"{name} tokens: at most {allowed} allowed, {used} used{self._listed()}"
                )

    def assert_cost(self, most: float, prices: Mapping[str, tuple[float, float]]) -> None:
        """The calls cost no more than that.

        :param prices: for each model, what a million input tokens and a million output tokens
            cost; in any currency, the same as ``most``.
        """
        cost = self.cost(prices)
        if cost > most:
            raise AssertionError(f"cost: at most {most:g} allowed, {cost:g} spent{self._listed()}")

    def assert_no_secrets(self, *values: str) -> None:
        """No prompt has anything in it that looks like a secret, or is one of these values, or
        that of an environment variable whose name says that it is one."""
        for one in self._calls():
            found = secrets.find(one.prompt)
            found += ["a value that was given" for value in values if value in one.prompt]
            if found:
                # What was found is not shown: a log is the next place for it to leak to.
                raise AssertionError(f"call {one.number} has {', '.join(found)} in its prompt")

    # -- figures ---------------------------------------------------------------------------------

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output tokens of all calls."""
        used = [one.usage for one in self._calls() if one.usage is not None]
        return sum(u.input_tokens for u in used), sum(u.output_tokens for u in used)

    def cost(self, prices: Mapping[str, tuple[float, float]]) -> float:
        """What the calls cost; see :meth:`assert_cost`.

        :raises AssertionError: for a model without a price.
        """
        total = 0.0
        for one in self._calls():
            if one.usage is None:
                continue
            if one.model not in prices:
                raise AssertionError(f"no price was given for the model {one.model!r}")
            read, written = prices[one.model]
            total += one.usage.input_tokens * read + one.usage.output_tokens * written
        return total / 1_000_000

    def transcript(self) -> str:
        """The calls and answers as text: the same for the same calls, without identifiers and
        times, so that it can be a snapshot."""
        return "\n\n".join(_told(one) for one in self._calls())

    def _calls(self) -> list[Recorded]:
        """All calls; what was not kept cannot be judged, and is not passed over."""
        journal: Journal = self.core.journal
        if journal.dropped:
            raise UsageError(
                "this is about all requests, and the server does not keep the first any more",
                found=f"{journal.count} requests, of which the last {len(journal)} are kept",
                fix=f"make room for them, serve(journal={journal.count}), or reset() it meanwhile",
            )
        return self._kept()

    def _kept(self) -> list[Recorded]:
        journal: Journal = self.core.journal
        return [one for one in journal if one.call is not None]

    def _listed(self) -> str:
        calls = self._kept()
        return "".join(f"\n  {one}" for one in calls[-20:])


def _script(text: Any, conditions: Mapping[str, Any]) -> Script:
    kind = conditions.get("kind")
    script = Scripts().on(text, **conditions)
    if kind is None:
        script.any_kind = True
    return script


def _told(one: Recorded) -> str:
    call = one.call
    assert call is not None
    lines = [f"{call.dialect} {call.endpoint} {call.model}"]
    if call.system:
        lines.append(f"system: {call.system}")
    lines += _messages(call)
    lines += [f"input: {text}" for text in call.inputs]
    reply = one.reply
    if reply is None or reply.error is not None:
        lines.append(f"=> {one.status}")
    else:
        if reply.thinking:
            lines.append(f"=> thinking: {reply.thinking}")
        if reply.text or not reply.tool_calls:
            lines.append(f"=> {reply.text}")
        lines += [f"=> {_called(used.name, used.arguments)}" for used in reply.tool_calls]
    return "\n".join(lines)


def _messages(call: ModelCall) -> Iterable[str]:
    for message in call.messages:
        if message.text:
            yield f"{message.role}: {message.text}"
        for used in message.tool_calls:
            yield f"{message.role}: {_called(used.name, used.arguments)}"
        for result in message.tool_results:
            yield f"result of {result.name or 'a tool'}: {result.content}"


def _called(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


__all__ = ["Asserting"]
