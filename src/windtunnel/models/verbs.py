"""The plain verbs of a server: what a test says to it without knowing how it works."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.core.faults import Argument, Fault, FaultPlan
from windtunnel.models import faults
from windtunnel.models.asserting import Asserting
from windtunnel.models.cassettes import Cassette
from windtunnel.models.conditions import Text
from windtunnel.models.core import ModelCore
from windtunnel.models.files import ScriptFile
from windtunnel.models.journal import Recorded
from windtunnel.models.limits import Limiter
from windtunnel.models.pace import Distribution, Pace, pace_of
from windtunnel.models.protocol import Kind, ModelCall
from windtunnel.models.relay import Mode, Relay, import_vcr
from windtunnel.models.scenario import Scenario
from windtunnel.models.script import Nth, Script
from windtunnel.models.state import ModelEntry


class Verbs(Asserting):
    """What can be said to a model server; :class:`~windtunnel.models.server.ModelServer` is one."""

    core: ModelCore

    # -- what is answered ------------------------------------------------------------------------

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
    ) -> Script:
        """Begin a script: ``server.on(...).reply(...)``. All conditions given must hold.

        :param text: the user's last text, whole; or a pattern found in it.
        :param model: the model's name, whole; or several; or a pattern of the whole name.
        :param contains: words in the user's last text, one piece or several.
        :param matches: a regular expression found in it.
        :param system: words, or a pattern, in the system prompt.
        :param tool_result: what tools have returned since the model spoke last: True for
            anything, a tool's name, words or a pattern in a result, or a mapping of tools to such.
        :param tools: a tool that is offered, or several.
        :param nth: only the first (1), second … call that fits otherwise; or several of them.
        :param kind: what is wanted: ``chat`` and ``completion`` where this is not given.
        :param dialect: the API; likewise ``endpoint``, ``namespace`` and ``stream``.
        :param where: a function of the call that says yes.
        """
        return self.core.scripts.on(
            text,
            model=model,
            contains=contains,
            matches=matches,
            system=system,
            tool_result=tool_result,
            tools=tools,
            nth=nth,
            kind=kind,
            dialect=dialect,
            endpoint=endpoint,
            namespace=namespace,
            stream=stream,
            where=where,
        )

    def set_response(self, *answer: Any, model: str | None = None, **parts: Any) -> Script:
        """Answer so whatever is asked, instead of what was set for that model before.

        :param answer: as for :meth:`Script.reply`; several are given one after the other, and
            the last from then on.
        :param model: only for this model.
        """
        for script in list(self.core.scripts):
            if script.written == _SET and script.names == model:
                self.core.scripts.remove(script)
        made = self.core.scripts.on(model=model, written=_SET)
        made.names = model
        try:
            return made.reply(*answer, then=parts.pop("then", "repeat"), **parts)
        except UsageError:
            self.core.scripts.remove(made)
            raise

    def set_error(
        self,
        status: int | None,
        message: str = "",
        *,
        kind: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """Answer every request with an error, until ``set_error(None)`` or a reset.

        :param status: the HTTP status, None for no error any more.
        :param kind: its cause, see :class:`~windtunnel.models.protocol.ReplyError`.
        :param retry_after_s: seconds for the ``retry-after`` header.
        """
        if status is None:
            self.core.outage = None
            return
        given = _error(status, message, kind, retry_after_s)
        self.core.outage = Fault("status", "*", arguments=given)

    def set_latency(
        self,
        latency: float | Distribution | Pace | None = None,
        *,
        tokens_per_s: float | Distribution | None = None,
    ) -> None:
        """Take that long to answer.

        :param latency: seconds until the first token, or a distribution of them, or a
            :class:`Pace`; None for no time.
        :param tokens_per_s: how fast the rest comes.
        """
        if tokens_per_s is None:
            self.core.pace = pace_of(latency)
        elif isinstance(latency, Pace):
            raise UsageError("a Pace has its own tokens_per_s", found=repr(tokens_per_s))
        else:
            self.core.pace = Pace(latency if latency is not None else 0.0, tokens_per_s)

    def fail_next(
        self,
        times: int = 1,
        *,
        status: int | None = None,
        fault: str | None = None,
        message: str = "",
        retry_after_s: float | None = None,
        **arguments: Argument,
    ) -> None:
        """Have the next request, or the next few, fail; the ones after that are answered.

        :param times: how many.
        :param status: the HTTP status, 500 by default.
        :param fault: instead of a status: a verb of :mod:`windtunnel.models.faults`, such as
            ``"reset"``, with its ``arguments``.
        """
        if fault is not None and status is None:
            said = {"message": message, "retry_after_s": retry_after_s}
            arguments |= {name: value for name, value in said.items() if value}
            made = Fault(fault, "*", arguments=arguments)
            faults.check(made)
        elif arguments or fault is not None:
            raise UsageError(
                "fail_next takes a status or a fault with its arguments",
                found=repr(arguments or (status, fault)),
            )
        else:
            given = _error(500 if status is None else status, message, "", retry_after_s)
            made = Fault("status", "*", arguments=given)
        self.core.failures.extend([made] * times)

    def stand_under(self, plan: FaultPlan) -> None:
        """Have the faults of a plan befall requests; its times begin now.

        :raises UsageError: for a verb that is unknown here.
        """
        self.core.stand_under(plan)

    def limit(
        self, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
    ) -> None:
        """Allow each API key so much, and answer what is more with status 429."""
        self.core.limiter = Limiter(
            self.core.clock.monotonic,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )

    def scenario(self, name: str) -> Scenario:
        """Begin a scenario: scripts that belong together, for a conversation's turns."""
        return Scenario(name, self.core)

    def load(self, path: str | Path) -> ScriptFile:
        """Answer by the scripts of a YAML or JSON file, read again whenever it changes.

        :raises UsageError: saying which entry of it cannot be meant.
        """
        made = ScriptFile(path, self.core)
        self.core.looks.append(made.look)
        return made

    def use_cassette(
        self,
        path: str | Path,
        mode: Mode = "replay",
        *,
        upstream: str | None = None,
        hidden: Iterable[str] = (),
    ) -> Relay:
        """Answer what no script fits from a recording, or have it recorded.

        :param path: the cassette, a YAML file.
        :param mode: ``replay``; ``record`` to ask the real server every time and begin the file
            anew; ``record_missing`` to ask it for what is not in the file.
        :param upstream: base URL of the real server; the provider's own by default.
        :param hidden: texts to blank in what is written, besides what looks like a secret.
        :raises UsageError: when there is nothing to replay.
        """
        relay = Relay(self.core, path, mode, upstream, tuple(hidden))
        self.core.upstream = relay
        return relay

    def import_vcr(self, source: str | Path, target: str | Path) -> Cassette:
        """Make a cassette of one that VCR.py has recorded, at ``target``."""
        return import_vcr(source, target, self.core)

    # -- models ----------------------------------------------------------------------------------

    def add_model(self, name: str, **details: Any) -> ModelEntry:
        """Have a model; ``details`` are told by the APIs that tell them."""
        return self.core.state.models.add(name, **details)

    def remove_model(self, name: str) -> bool:
        """Have it no more: requests for it are answered as for an unknown model. Whether it was
        listed."""
        return self.core.state.models.remove(name)

    # -- what was asked --------------------------------------------------------------------------

    @property
    def requests(self) -> list[Recorded]:
        """The requests that came, oldest first, as many as are kept."""
        return list(self.core.journal)

    @property
    def calls(self) -> list[Recorded]:
        """The requests that asked a model something."""
        return [recorded for recorded in self.core.journal if recorded.call is not None]

    @property
    def request_count(self) -> int:
        """How many requests came since the start or the last reset."""
        return self.core.journal.count

    @property
    def last_request(self) -> Recorded:
        """The last one.

        :raises UsageError: where none came.
        """
        kept = list(self.core.journal)
        if not kept:
            raise UsageError("no request came to the model server", found="0 requests")
        return kept[-1]

    def reset(self) -> None:
        """Forget scripts, requests, faults and stored things, and begin as at the start."""
        self.core.reset()


_SET = "set_response"


def _error(
    status: int, message: str, kind: str, retry_after_s: float | None
) -> Mapping[str, Argument]:
    given: dict[str, Argument] = {
        "status": status,
        "message": message,
        "kind": kind,
        "retry_after_s": retry_after_s,
    }
    return {name: value for name, value in given.items() if value not in (None, "")}


__all__ = ["Verbs"]
