"""The fixtures ``session``, ``executor`` and ``capabilities``.

They are synchronous and belong to no event loop, so they serve tests of every kind: plain ones,
asyncio's, trio's through anyio. A simulated test gets the doubles, on its virtual time, as new for
each seed. What the engine is, and what it may do, the marker ``session`` says::

    @pytest.mark.session("process", functions=[read], capabilities={"fs.read": {"uses": 3}})
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import pytest

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities import CapabilityContext, CapabilityToken
from windtunnel.sessions.choosing import DOUBLES, is_double, opened_executor, opened_session
from windtunnel.sessions.fake import MockREPLSession
from windtunnel.sessions.fake.double import Double
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import Executor, Grants, Limits, Session

MARKER = "session"
_LIMITS = Limits()
_ASYNC = pytest.StashKey["_Body"]()


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What the marker, the parameter and the setting ask for.

    :param engine: the name of an engine, or ``"double"``; empty where nobody says.
    :param functions: the host functions that code may call.
    :param capabilities: what code may do: types, tokens, or types with bounds.
    :param limits: what one execution may take.
    """

    engine: str = ""
    functions: tuple[HostFunction, ...] = ()
    capabilities: tuple[CapabilityToken, ...] = ()
    limits: Limits = _LIMITS


def capabilities(request: pytest.FixtureRequest) -> Iterator[CapabilityContext]:
    """Body of the fixture ``capabilities``."""
    item = request.node
    root = CapabilityContext(item.name, tokens=_wanted(request).capabilities)
    body = _body(item)
    body.context = root
    with root.scope():
        yield root
    root.close()


def session(
    request: pytest.FixtureRequest, engine: str = "monty", *, simulated: bool = False
) -> Iterator[Session]:
    """Body of the fixture ``session``.

    :param engine: what it is a session of where the test does not say.
    :param simulated: whether the test is a simulated one.
    """
    item = request.node
    wanted = _wanted(request)
    held: Grants = request.getfixturevalue("capabilities")
    opened = opened_session(
        _engine(request, wanted.engine, engine, simulated),
        functions=wanted.functions,
        capabilities=held,
        limits=wanted.limits,
        name=item.name,
    )
    yield from _lent(item, opened)


def executor(
    request: pytest.FixtureRequest, engine: str = "monty", *, simulated: bool = False
) -> Iterator[Executor]:
    """Body of the fixture ``executor``; the parameters are the same."""
    item = request.node
    wanted = _wanted(request)
    opened = opened_executor(
        _engine(request, wanted.engine, engine, simulated),
        functions=wanted.functions,
        limits=wanted.limits,
        name=item.name,
    )
    yield from _lent(item, opened)


def _lent(item: Any, opened: Any) -> Iterator[Any]:
    double = opened
    if isinstance(double, Double):
        _body(item).doubles.append(double)
    try:
        yield opened
    finally:
        opened.close_sync()


# -- what is asked for -----------------------------------------------------------------------------


def _wanted(request: pytest.FixtureRequest) -> Wanted:
    """The marker closest to the test wins, name by name; a parameter wins over all markers."""
    given: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(MARKER))):
        given |= _named(mark.args) | mark.kwargs
    parameter = getattr(request, "param", None)
    if isinstance(parameter, Mapping):
        given |= parameter
    elif parameter is not None:
        given |= _named((parameter,))
    try:
        return _read(given)
    except UsageError as error:
        _refuse(request, error)


def _named(args: tuple[Any, ...]) -> dict[str, Any]:
    if not args:
        return {}
    engine, *rest = args
    if rest or not isinstance(engine, str):
        raise UsageError(
            "the marker session takes the engine's name, and the rest by name",
            found=f"session({', '.join(map(repr, args))})",
            fix='write session("process", functions=[...], capabilities=[...])',
        )
    return {"engine": engine}


def _read(given: Mapping[str, Any]) -> Wanted:
    known = [field.name for field in dataclasses.fields(Wanted)]
    for name in given:
        if name not in known:
            raise UsageError(
                f"the marker session has no setting {name!r}", fix=f"use {', '.join(known)}"
            )
    limits = given.get("limits", Limits())
    if not isinstance(limits, Limits):
        raise UsageError(
            "limits of the marker session are a sessions.Limits",
            found=repr(limits),
            fix="write limits=sessions.Limits(timeout_s=1)",
        )
    return Wanted(
        engine=given.get("engine", ""),
        functions=tuple(given.get("functions", ())),
        capabilities=tuple(_tokens(given.get("capabilities", ()))),
        limits=limits,
    )


def _tokens(declared: Any) -> Iterator[CapabilityToken]:
    """Tokens of this test's own: what one test uses up, another one has again."""
    if isinstance(declared, Mapping):
        for capability, bounds in declared.items():
            yield CapabilityContext("marker").grant(capability, **bounds)
        return
    if isinstance(declared, CapabilityContext):
        declared = declared.tokens()
    for one in [declared] if isinstance(declared, str) else declared:
        yield CapabilityToken(one) if isinstance(one, str) else _renewed(one)


def _renewed(token: CapabilityToken) -> CapabilityToken:
    return CapabilityToken(token.type, token.all_constraints)


def _engine(request: pytest.FixtureRequest, wanted: str, default: str, simulated: bool) -> str:
    if not simulated:
        return wanted or default
    if wanted and not is_double(wanted):
        _refuse(
            request,
            UsageError(
                "no engine runs in the simulated world, whose time and threads it would escape",
                found=f"engine={wanted!r} and a simulated test",
                fix=f"leave the engine out, or name {DOUBLES[0]!r}; or take `simulated` off",
            ),
        )
    return DOUBLES[0]


def _refuse(request: pytest.FixtureRequest, error: UsageError) -> NoReturn:
    pytest.fail(f"{request.node.nodeid}: {error}", pytrace=False)


# -- the body of an async test ---------------------------------------------------------------------


class _Body:
    """Wraps an async test's function: its loop does not have the fixtures' context variables, and
    a simulated test calls it once a seed, each time with everything as new."""

    def __init__(self, item: Any) -> None:
        self.context: CapabilityContext | None = None
        self.doubles: list[Double] = []
        self._renew: Callable[[], CapabilityContext | None] | None = None
        function = item.obj

        @functools.wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            given = self._begun(kwargs)
            with self.context.scope() if self.context else contextlib.nullcontext():
                return await function(*args, **given)

        if inspect.iscoroutinefunction(function):
            item.obj = run

    def _begun(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """At first, remember how the fixtures left things; then have them so again."""
        if self._renew is None:
            self._renew = self._as_now()
            return kwargs
        before, self.context = self.context, self._renew()
        for double in self.doubles:
            if isinstance(double, MockREPLSession) and before and self.context:
                double.held_in_place_of(before, self.context)
        return {
            name: self.context if value is before and before is not None else value
            for name, value in kwargs.items()
        }

    def _as_now(self) -> Callable[[], CapabilityContext | None]:
        restorers = [double.restorer() for double in self.doubles]
        context = self.context
        tokens = context.tokens() if context is not None else ()

        def renew() -> CapabilityContext | None:
            for restore in restorers:
                restore()
            if context is None:
                return None
            return CapabilityContext(context.name, tokens=map(_renewed, tokens))

        return renew


def _body(item: Any) -> _Body:
    if _ASYNC not in item.stash:
        item.stash[_ASYNC] = _Body(item)
    body: _Body = item.stash[_ASYNC]
    return body


__all__ = ["MARKER", "Wanted", "capabilities", "executor", "session"]
