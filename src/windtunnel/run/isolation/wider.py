"""Fixtures wider than a test, under isolation by fork: set up in the parent, where that is safe.

A fixture is safe to inherit unless setting it up left threads, an event loop or a connection:
a forked child has no other threads, and a connection read by several children is nobody's. Such
a fixture is torn down again at once, and from then on each child that needs it makes its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from _pytest.logging import caplog_handler_key, caplog_records_key
from _pytest.runner import SetupState
from _pytest.scope import Scope


class WiderFixtures:
    """Sets up, keeps apart and leaves alone what is wider than a test."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._unsafe: set[Any] = set()
        self._made: list[tuple[Any, Any, bool]] | None = None

    # -- in the parent --------------------------------------------------------------------------

    def set_up(self, item: pytest.Item) -> None:
        """Set up the collectors above ``item`` and its wider-scoped fixtures, in pytest's order.

        Nothing is raised for what fails: pytest keeps the exception, and raises it again when
        the child comes to the same place.
        """
        names = [name for name, definition in _wider_of(item) if not self._avoid(definition, item)]
        if not self._anything_new(item, names):
            return
        with captured(item, "setup"), contextlib.suppress(_Failed):
            setup_state = item.session._setupstate
            if item.parent is not None:
                _quietly(lambda: setup_state.setup(item.parent))  # type: ignore[arg-type]
            # A request is only answered for a node that is being set up.
            setup_state.stack[item] = ([], None)
            try:
                for name in names:
                    self._set_up_one(item, name)
            finally:
                setup_state.stack.pop(item, None)
                if hasattr(item, "_request"):
                    item._initrequest()  # type: ignore[attr-defined]

    def _set_up_one(self, item: pytest.Item, name: str) -> None:
        function: Any = item
        self._made = []
        try:
            _quietly(lambda: function._request.getfixturevalue(name))
        finally:
            made, self._made = self._made, None
            first = next((n for n, (_, _, unsafe) in enumerate(made) if unsafe), len(made))
            for definition, request, _ in reversed(made[first:]):
                self._unsafe.add(definition)
                with contextlib.suppress(Exception):  # the child that makes it will say so
                    definition.finish(request)
                function._request._fixture_defs.pop(definition.argname, None)

    def _anything_new(self, item: pytest.Item, names: list[str]) -> bool:
        if item.parent is not None and item.parent not in item.session._setupstate.stack:
            return True
        params = getattr(getattr(item, "callspec", None), "params", {})
        if any(name in params for name in names):
            return True
        return any(
            definition.cached_result is None
            for name, definition in _wider_of(item)
            if name in names
        )

    def _avoid(self, definition: Any, item: pytest.Item) -> bool:
        """Whether setting it up would set up an unsafe one."""
        if not self._unsafe:
            return False
        known = _definitions(item)
        seen: set[Any] = set()
        pending = [definition]
        while pending:
            each = pending.pop()
            if each in self._unsafe:
                return True
            if each not in seen:
                seen.add(each)
                pending += [known[name][-1] for name in each.argnames if known.get(name)]
        return False

    @contextlib.contextmanager
    def watching(self, definition: Any, request: Any) -> Iterator[None]:
        """Around the set-up of each fixture: find out whether it may be inherited."""
        made = self._made
        if made is None or isinstance(request.node, pytest.Item):
            yield
            return
        before = _unshareable()
        yield
        made.append((definition, request, bool(_unshareable() - before)))

    # -- in the child -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def in_child(self, item: pytest.Item) -> Iterator[None]:
        """Tear down the test's own and what the child itself has made, and nothing else: the
        parent's fixtures are in use."""
        setup_state = item.session._setupstate
        inherited = {node: len(entry[0]) for node, entry in setup_state.stack.items()}

        def teardown_exact(nextitem: pytest.Item | None) -> None:
            errors: list[BaseException] = []
            steps: list[Callable[[], object]] = [
                lambda: SetupState.teardown_exact(setup_state, _Parents(inherited))  # type: ignore[arg-type]
            ]
            for node, (finalizers, _) in reversed(list(setup_state.stack.items())):
                if node in inherited:
                    own = finalizers[inherited[node] :]
                    del finalizers[inherited[node] :]
                    steps += reversed(own)
            for step in steps:
                try:
                    step()
                except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
                    errors.append(error)
            if len(errors) == 1:
                raise errors[0]
            if errors:
                raise BaseExceptionGroup("errors during test teardown", errors)

        vars(setup_state)["teardown_exact"] = teardown_exact
        yield


class _Parents:
    """Stands for a next test that shares every node already set up in the parent."""

    def __init__(self, nodes: dict[pytest.Item, int] | dict[Any, int]) -> None:
        self._nodes = list(nodes)

    def listchain(self) -> list[Any]:
        return self._nodes


class _Failed(Exception):
    """A set-up failed; pytest has kept why."""


def _quietly(function: Callable[[], object]) -> None:
    try:
        function()
    except pytest.exit.Exception:
        raise
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
        raise _Failed from error


def _definitions(item: pytest.Item) -> dict[str, Any]:
    return getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})


def _wider_of(item: pytest.Item) -> list[tuple[str, Any]]:
    """Names and definitions of the item's fixtures that are wider than the item."""
    known = _definitions(item)
    scopes = getattr(getattr(item, "callspec", None), "_arg2scope", {})
    in_class = item.getparent(pytest.Class) is not None
    found = []
    for name in getattr(item, "fixturenames", ()):
        if known.get(name):
            scope = scopes.get(name, known[name][-1]._scope)
            if scope > Scope.Function and (in_class or scope is not Scope.Class):
                found.append((name, known[name][-1]))
    return found


def _unshareable() -> set[str]:
    """What a child could not use along with its parent: threads, event loops, connections."""
    found = {f"thread {task}" for task in _listing("/proc/self/task")}
    for name in _listing("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            loop = target in ("anon_inode:[eventpoll]", "anon_inode:[io_uring]")
            if loop or (target.startswith("socket:") and _connected(int(name))):
                found.add(target + name)
    return found


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _connected(fd: int) -> bool:
    import _socket  # not `socket`, whose names plugins replace to forbid tests the network

    probe = _socket.socket(fileno=os.dup(fd))
    try:
        probe.getpeername()
    except OSError:
        return False
    finally:
        probe.close()
    return True


@contextlib.contextmanager
def captured(item: pytest.Item, when: str) -> Generator[None, None, None]:
    """Capture output and log as pytest does in that phase of the item."""
    manager = item.config.pluginmanager
    capture: Any = manager.getplugin("capturemanager")
    log: Any = manager.getplugin("logging-plugin")
    with contextlib.ExitStack() as stack:
        if capture is not None:
            stack.enter_context(capture.item_capture(when, item))
        if log is not None:
            item.stash[caplog_records_key] = {}
            stack.callback(item.stash.__delitem__, caplog_records_key)
            stack.callback(item.stash.__delitem__, caplog_handler_key)
            wrapped = log._runtest_for(item, when)
            if not hasattr(wrapped, "__enter__"):  # before pytest 9.1 it is a bare generator
                wrapped = contextlib.contextmanager(log._runtest_for)(item, when)
            stack.enter_context(wrapped)
        yield
