"""Where a test's own state begins and ends.

A test's own state is what its body and its function-scoped fixtures do. What wider-scoped
fixtures and collectors do belongs to the worker: they are set up inside the first test that needs
them and torn down inside the last one, and whoever keeps tests apart must not take their work for
the test's. This plugin finds these borders and tells its parts: ``enter``, then any number of
``pause`` and ``resume`` around wider-scoped code, then ``leave``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any, Protocol

import pytest
from _pytest.fixtures import FixtureDef, SubRequest


class Part(Protocol):
    """Whoever keeps the state of tests apart."""

    def enter(self, item: pytest.Item) -> None:
        """A test begins: what follows is the test's own."""
        ...

    def pause(self) -> None:
        """Wider-scoped code is about to run within the test."""
        ...

    def resume(self) -> None:
        """The wider-scoped code is done; what it changed is the worker's new state."""
        ...

    def leave(self, item: pytest.Item) -> None:
        """The test's last function-scoped finalizer is done."""
        ...


class Boundary:
    """The pytest plugin that finds the borders. Parts are entered in the order they were added
    and left the other way round."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._item: pytest.Item | None = None
        self._outside = 0

    def add(self, part: Part) -> None:
        """Tell ``part`` of every border from now on."""
        self._parts.append(part)

    # -- borders --------------------------------------------------------------------------------

    def _enter(self, item: pytest.Item) -> None:
        self._item, self._outside = item, 0
        for part in self._parts:
            part.enter(item)

    def _leave(self, item: pytest.Item) -> None:
        if self._item is not item:
            return
        self._item = None
        for part in reversed(self._parts):
            part.leave(item)

    def _pause(self) -> None:
        self._outside += 1
        if self._item is not None and self._outside == 1:
            for part in reversed(self._parts):
                part.pause()

    def _resume(self) -> None:
        self._outside -= 1
        if self._item is not None and self._outside == 0:
            for part in self._parts:
                part.resume()

    def outside(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, run with the worker's state and not the test's."""

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            self._pause()
            try:
                return function(*args, **kwargs)
            finally:
                self._resume()

        return run

    # -- hooks ----------------------------------------------------------------------------------

    # Innermost of the wrappers: what pytest's own put in place for a phase (log handlers, capture)
    # is there at both borders.

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        self._set_up_collectors_outside(item.session)
        self._enter(item)
        try:
            return (yield)
        finally:
            # The first finalizer of the item runs last, and before any finalizer of a collector.
            entry = item.session._setupstate.stack.get(item)
            if entry is not None:
                entry[0].insert(0, functools.partial(self._leave, item))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            self._leave(item)  # a test whose set-up never reached the item has no finalizers

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: FixtureDef[Any], request: SubRequest
    ) -> Generator[None, object, object]:
        if isinstance(request.node, pytest.Item):
            return (yield)
        if "finish" not in vars(fixturedef):
            # Called directly where a parameter changes, in the midst of the next test's set-up.
            vars(fixturedef)["finish"] = self.outside(fixturedef.finish)
        self._pause()
        try:
            return (yield)
        finally:
            self._resume()

    def _set_up_collectors_outside(self, session: pytest.Session) -> None:
        setup_state = session._setupstate
        if "setup" in vars(setup_state):
            return
        setup = setup_state.setup
        collectors = self.outside(setup)

        def both(item: pytest.Item) -> None:
            if item.parent is not None and item.parent not in setup_state.stack:
                collectors(item.parent)
            setup(item)

        vars(setup_state)["setup"] = both


_KEY = pytest.StashKey[Boundary]()


def boundary(config: pytest.Config) -> Boundary:
    """The boundary of this pytest session, registered when it is first asked for."""
    found = config.stash.get(_KEY, None)
    if found is None:
        found = config.stash[_KEY] = Boundary()
        config.pluginmanager.register(found, "windtunnel-boundary")
    return found
