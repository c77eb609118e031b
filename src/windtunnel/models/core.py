"""The core of a model server: request in, plan out, and no input or output of its own.

:meth:`ModelCore.handle` takes one request through the house in order: which dialect and endpoint
(:mod:`~windtunnel.models.routing`), may it come in, what does it ask (the dialect's ``parse``),
what is answered (the scripts), how it is written (the dialect's ``render``), what goes wrong and
how long it takes (faults and pace). Every way in, sockets or none, calls this and sends the plan.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from windtunnel.core.clock import WORLD_CLOCK, Clock
from windtunnel.core.faults import Fault, FaultPlan
from windtunnel.core.seed import Seed, run_seed
from windtunnel.models import answers, faults, tokens
from windtunnel.models.cors import preflight
from windtunnel.models.dialects import ALL, Dialect, dialect
from windtunnel.models.framing import Framer
from windtunnel.models.journal import Firsts, Journal, Recorded
from windtunnel.models.known import Known
from windtunnel.models.limits import Limiter
from windtunnel.models.nearest import explain
from windtunnel.models.pace import Pace
from windtunnel.models.protocol import (
    HttpRequest,
    ModelCall,
    Params,
    Plan,
    RateState,
    RefusedError,
    Reply,
    ReplyError,
    Response,
)
from windtunnel.models.routing import routes_of
from windtunnel.models.script import Outcome, Scripts
from windtunnel.models.state import ServerState

Upstream: TypeAlias = Callable[[ModelCall, Dialect], "Response | Awaitable[Response] | None"]
"""Answers calls in place of the scripts, from a recording or a real server; None for not."""

_NONE: Params = {}
_NAMESPACE = "x-windtunnel-namespace"
_KEPT_BYTES = 6_656
_REMEMBERED = 512
_REMEMBERED_BYTES = 16_384


@dataclasses.dataclass(frozen=True, slots=True)
class Unmatched:
    """A call that no script fits, and why."""

    call: ModelCall
    why: str


class ModelCore:
    """One server's behaviour, without a transport.

    :param dialects: which APIs it speaks; an earlier one goes first where paths are the same.
    :param scripts: what is answered; new and empty by default.
    :param models: the only models it has; None for each dialect's usual ones.
    :param api_key: the key a client must present; None takes any or none.
    :param seed: where identifiers and defaults are drawn from; None for the run's.
    :param clock: what the time is; None for that of the world it stands in.
    :param strict: whether a call that no script fits is an error although there are scripts;
        else it has a seeded answer, as it has where there are none at all.
    :param journal: how many requests are kept for reading, the last ones; fewer, where they have
        more than 6.5 KiB each on average.
    """

    def __init__(
        self,
        dialects: Sequence[str] = ALL,
        *,
        scripts: Scripts | None = None,
        models: Iterable[str] | None = None,
        api_key: str | None = None,
        seed: Seed | None = None,
        clock: Clock | None = None,
        strict: bool = True,
        journal: int = 10_000,
    ) -> None:
        self.dialects: tuple[Dialect, ...] = tuple(dialect(name) for name in dialects)
        self.scripts = scripts if scripts is not None else Scripts()
        self.api_key = api_key
        self.strict = strict
        self.clock = clock if clock is not None else WORLD_CLOCK
        self.journal = Journal(limit=journal, limit_bytes=journal * _KEPT_BYTES)
        self.unmatched: Firsts[Unmatched] = Firsts()
        """Calls that no script fits, the first of them."""
        self.defects: Firsts[BaseException] = Firsts()
        """What was raised by functions that answer, or by the server itself, the first of it."""
        self.pace: Pace | None = None
        """How long answers take, where their script says nothing else."""
        self.failures: deque[Fault] = deque()
        """Faults of the next requests, one each."""
        self.outage: Fault | None = None
        """The fault of every request, until it is lifted."""
        self.refused = False
        """Whether connections are refused until further notice."""
        self.limiter: Limiter | None = None
        """What clients may use in a minute, None for no limit."""
        self.upstream: Upstream | None = None
        """Who is asked when no script fits."""
        self.looks: list[Callable[[], None]] = []
        """What is done before each request."""
        self._models = models if models is None else tuple(models)
        self._weather: faults.Weather | None = None
        self._began = self.clock.monotonic()
        self.state = ServerState(
            seed if seed is not None else run_seed(),
            self.clock,
            serve=self.respond,
            count=tokens.count,
            models=self._models,
        )
        self._routes = routes_of(self.dialects)
        self._known: dict[bytes, Known] = {}
        self._marks: set[int] = set()
        self._pure = {one.name: getattr(one, "pure", frozenset[str]()) for one in self.dialects}
        self._spaced: tuple[object, str] = ((), "")
        self._framers = {spoken.name: Framer(spoken, self.state) for spoken in self.dialects}
        self._stock()

    def _stock(self) -> None:
        self.state.models.ask_scripts(self.scripts.names_model)
        if self._models is None:
            for spoken in self.dialects:
                for name in spoken.default_models:
                    self.state.models.add(name, dialect=spoken.name)

    def reset(self) -> None:
        """Begin anew: no scripts, no requests, nothing stored, the first models, no faults."""
        self.scripts.clear()
        self._known.clear()
        self.journal.clear()
        self.unmatched.clear()
        self.defects.clear()
        self.failures.clear()
        self.looks.clear()
        self.refused = False
        self.outage = self.pace = self.limiter = self.upstream = self._weather = None
        self.state.forget(self._models)
        self._stock()

    def stand_under(self, plan: FaultPlan) -> None:
        """Have the faults of a plan befall requests, from now on.

        :raises UsageError: for a verb that is unknown here.
        """
        self._weather = faults.Weather(plan, self.state.random("faults"))
        self._began = self.clock.monotonic()

    @property
    def refusing(self) -> bool:
        """Whether who connects now is refused."""
        if self.refused:
            return True
        return self._weather is not None and self._weather.refuses(
            self.clock.monotonic() - self._began
        )

    # -- from request to plan --------------------------------------------------------------------

    def handle(self, request: HttpRequest) -> Plan | Awaitable[Plan]:
        """The bytes that answer a request; to be awaited where a function that answers is."""
        for look in self.looks:
            look()
        recorded = self.journal.begin(request, self.state.ids.time())
        known = self._known.get(request.body)
        endpoint, params = "", _NONE
        if known is not None and known.holds_for(request, self):
            spoken = known.spoken
            recorded.request = known.call.request  # the same bytes need not be kept twice
        else:
            known = None
            spoken, endpoint, params = self._routes.find(request)
            if request.method == "OPTIONS" and (allowed := preflight(request)) is not None:
                return self._out(spoken, recorded, allowed)  # browsers ask without a key
        recorded.dialect, recorded.endpoint = spoken.name, endpoint
        try:
            if self.failures or self.outage is not None or self.api_key is not None:
                self._admit(spoken, recorded)
            if known is None:
                found = self._read(spoken, endpoint, params, request)
                if isinstance(found, Response):
                    return self._out(spoken, recorded, found)
                known = found
            call = known.call
            recorded.endpoint = call.endpoint
            recorded.bear(call, self.read if known.pure else None)
            outcome = self._outcome(known)
            if isinstance(outcome, Outcome):
                reply = outcome.reply
                if isinstance(reply, Reply):
                    return self._answered(known, recorded, outcome, reply)
                return self._later(known, recorded, outcome, reply)
            if isinstance(outcome, Response):
                return self._out(spoken, recorded, outcome)
            return self._relayed(spoken, recorded, outcome)
        except RefusedError as refused:
            return self._refused(spoken, recorded, refused.error)
        except Exception as error:
            return self._defect(spoken, recorded, error)

    def _read(
        self, spoken: Dialect, endpoint: str, params: Params, request: HttpRequest
    ) -> Known | Response:
        """What a request asks, remembered where nothing but its bytes decided that."""
        if endpoint == "":
            raise RefusedError(self._routes.refusal(request, spoken))
        call = spoken.parse(endpoint, request, params, self.state)
        if isinstance(call, Response):
            return call
        call = self._in_namespace(call, request)
        known = Known(spoken, call, endpoint in self._pure[spoken.name])
        if known.pure and len(request.body) <= _REMEMBERED_BYTES:
            self._remember(request, known)
        return known

    def _remember(self, request: HttpRequest, known: Known) -> None:
        # What comes but once is not worth keeping: it is remembered when it comes again.
        mark, marks = hash(request.body), self._marks
        if mark not in marks:
            if len(marks) >= _REMEMBERED:
                marks.clear()
            marks.add(mark)
            return
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        known.keep(request, self)
        self._known[request.body] = known

    def _in_namespace(self, call: ModelCall, request: HttpRequest) -> ModelCall:
        headers, space = self._spaced
        if headers is not request.headers:  # of one client they are one object, see `wire`
            space = request.header(_NAMESPACE)
            self._spaced = request.headers, space
        if space and not call.namespace:
            return dataclasses.replace(call, namespace=space)
        return call

    def respond(self, request: HttpRequest) -> Response:
        """The answer to a request, not framed; its body is all there."""
        plan = self.handle(request)
        if not isinstance(plan, Plan) or plan.response is None:
            raise RefusedError(ReplyError(500, "server", "no answer in a batch can be awaited"))
        response = plan.response
        if not isinstance(response.body, bytes):
            response.body = b"".join(chunk.data for chunk in response.body)
        return response

    def read(self, request: HttpRequest) -> ModelCall | None:
        """What a request asks a model; None where it asks none, or would be refused."""
        spoken, endpoint, params = self._routes.find(request)
        if endpoint == "":
            return None
        try:
            call = spoken.parse(endpoint, request, params, self.state)
        except RefusedError:
            return None
        return self._in_namespace(call, request) if isinstance(call, ModelCall) else None

    def malformed(self, status: int, message: str) -> Plan:
        """What is said to bytes that are no request, before the connection is closed."""
        spoken = self.dialects[0]
        request = HttpRequest("POST", "/", keep_alive=False)
        response = spoken.error(answers.error(status, message), request, self.state)
        return self._framers[spoken.name].plan(request, response)

    # -- steps of it -----------------------------------------------------------------------------

    def _admit(self, spoken: Dialect, recorded: Recorded) -> None:
        befalling: Fault | None = None
        if self.failures:
            befalling = self.failures.popleft()
        elif self.outage is not None:
            befalling = self.outage
        if befalling is not None:
            self._befall(recorded, (befalling,))
        if self.api_key is not None and spoken.key_of(recorded.request) != self.api_key:
            raise RefusedError(ReplyError(401, "authentication"))

    def _befall(self, recorded: Recorded, befalling: tuple[Fault, ...]) -> None:
        """Note faults; those that are errors answer at once."""
        recorded.faults = (*recorded.faults, *befalling)
        for one in befalling:
            make = faults.ERRORS.get(one.verb)
            if make is not None:
                raise RefusedError(make(one))

    def _outcome(self, known: Known) -> Outcome | Response | Awaitable[Response]:
        call = known.call
        outcome = self.scripts.choose(call, self.state, known.fits(self.scripts))
        if outcome is not None:
            return outcome
        if self.upstream is not None:
            answered = self.upstream(call, known.spoken)
            if answered is not None:
                return answered
        if not self.strict or call.kind not in ("chat", "completion") or not len(self.scripts):
            return Outcome(answers.default_reply(call, self.state), fresh=True)
        why = explain(call, self.scripts)
        self.unmatched.append(Unmatched(call, why))
        raise RefusedError(ReplyError(400, "invalid_request", why, code="no_script_fits"))

    def _answered(self, known: Known, recorded: Recorded, outcome: Outcome, reply: Reply) -> Plan:
        spoken, call = known.spoken, known.call
        recorded.reply = reply
        recorded.script = outcome.script
        if outcome.fresh:
            self.journal.weigh(recorded, len(reply.text) + len(reply.thinking))
        befalling = outcome.faults
        if self._weather is not None:
            now = self.clock.monotonic() - self._began
            befalling = (
                *befalling,
                *self._weather.befall(now, call.model, call.dialect, call.endpoint),
            )
        if befalling:
            self._befall(recorded, befalling)
        if reply.error is not None:
            raise RefusedError(reply.error)
        usage = known.usage(reply)
        recorded.usage = usage
        rate = None
        if self.limiter is not None:
            rate = self.limiter.take(spoken.key_of(recorded.request) or "", usage.total_tokens)
        response = spoken.render(call, reply, usage, self.state)
        return self._out(
            spoken, recorded, response, outcome.pace or self.pace, usage.output_tokens, rate
        )

    def _out(
        self,
        spoken: Dialect,
        recorded: Recorded,
        response: Response,
        pace: Pace | None = None,
        written: int = 0,
        rate: RateState | None = None,
    ) -> Plan:
        recorded.status = response.status
        framer = self._framers[spoken.name]
        if not recorded.faults:
            plan = framer.plan(recorded.request, response, pace, written, rate)
            plan.recorded = recorded
            return plan
        for one in recorded.faults:
            error = faults.error_of(one) if one.verb == "error_event" else ReplyError(500, "server")
            response = faults.spoil(
                response, one, functools.partial(self._error_frame, spoken, recorded, error)
            )
        plan = framer.plan(recorded.request, response, pace, written, rate)
        for one in recorded.faults:
            plan = faults.bend(plan, one)
        plan.recorded = recorded
        return plan

    def _error_frame(self, spoken: Dialect, recorded: Recorded, error: ReplyError) -> bytes:
        if recorded.call is not None and recorded.call.stream:
            return spoken.stream_error(error, recorded.call)
        body = spoken.error(error, recorded.request, self.state).body
        return body if isinstance(body, bytes) else b""

    def _refused(self, spoken: Dialect, recorded: Recorded, error: ReplyError) -> Plan:
        response = spoken.error(error, recorded.request, self.state)
        if error.retry_after_s is not None:
            after = ("retry-after", f"{error.retry_after_s:g}")
            response.headers = (*response.headers, after)
        return self._out(spoken, recorded, response)

    def _defect(self, spoken: Dialect, recorded: Recorded, error: Exception) -> Plan:
        """A function that answers raised, or a defect of ours was met: the client gets a server
        error, and the test is told."""
        self.defects.append(error)
        message = f"{type(error).__name__}: {error}"
        response = spoken.error(ReplyError(500, "server", message), recorded.request, self.state)
        return self._out(spoken, recorded, response)

    async def _later(
        self, known: Known, recorded: Recorded, outcome: Outcome, reply: Awaitable[Reply]
    ) -> Plan:
        try:
            return self._answered(known, recorded, outcome, await reply)
        except RefusedError as refused:
            return self._refused(known.spoken, recorded, refused.error)
        except Exception as error:
            return self._defect(known.spoken, recorded, error)

    async def _relayed(
        self, spoken: Dialect, recorded: Recorded, response: Awaitable[Response]
    ) -> Plan:
        try:
            return self._out(spoken, recorded, await response)
        except RefusedError as refused:
            return self._refused(spoken, recorded, refused.error)
        except Exception as error:
            return self._defect(spoken, recorded, error)


__all__ = ["ModelCore", "Unmatched", "Upstream"]
