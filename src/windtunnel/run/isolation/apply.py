"""Applying the isolations to this very process, and closing what was opened for them."""

from __future__ import annotations

import atexit
import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from windtunnel.core import IsolationError
from windtunnel.run.isolation import linux
from windtunnel.run.isolation.patterns import PathPatterns
from windtunnel.run.session import RunState

if TYPE_CHECKING:
    from windtunnel.run.isolation.namespace import Places


class Applied:
    """What isolates this process; one method an isolation."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._config = config
        self._state = state
        self._in_user_namespace = False
        self._after_tests: list[Callable[[], None]] = []
        self._at_finish: list[Callable[[], None]] = []

    def apply(self, name: str) -> str:
        """Apply that isolation; returns why it steps back, if it does.

        :raises IsolationError: where it cannot be had.
        """
        apply: Callable[[], str] = getattr(self, f"_{name}")
        return apply()

    def settle(self) -> None:
        """All isolations are applied: give up what was needed only for that."""
        if self._in_user_namespace:
            linux.drop_capabilities()

    def after_last_test(self) -> None:
        """The last test is over, and no plugin has written its report yet."""
        while self._after_tests:
            self._after_tests.pop()()

    def finish(self) -> None:
        """All is over that belongs to the tests."""
        self.after_last_test()
        while self._at_finish:
            self._at_finish.pop()()

    # -- one method an isolation ------------------------------------------------------------------

    def _env(self) -> str:
        from windtunnel.run.isolation.boundary import boundary
        from windtunnel.run.isolation.env import EnvIsolation

        isolation = EnvIsolation(self._config, self._state)
        boundary(self._config).add(isolation)
        self._at_finish.append(isolation.close)
        return ""

    def _namespace(self) -> str:
        _only_linux()
        from windtunnel.run.isolation import namespace
        from windtunnel.run.isolation.write_through import WriteThrough

        places = places_of(self._config, self._state)
        layers, in_user = namespace.enter(places)
        self._in_user_namespace |= in_user
        write_through = WriteThrough(layers, places.patterns)
        self._after_tests.append(write_through.after_tests)
        # Plugins write their files after the last test, and coverage at the very last.
        self._config.add_cleanup(write_through.at_exit)
        atexit.register(write_through.at_exit)
        return ""

    def _net(self) -> str:
        _only_linux()
        from windtunnel.run.isolation.net import unshare_network

        try:
            self._in_user_namespace |= unshare_network()
        except OSError as error:
            raise IsolationError(
                "a network namespace cannot be had", found=error.strerror or str(error)
            ) from error
        return ""

    def _fork(self) -> str:
        if not hasattr(os, "fork"):
            raise IsolationError("fork cannot be had", found="this system has no fork")
        from windtunnel.run.isolation.fork import in_the_way, start

        reason = in_the_way(self._config)
        if reason:
            return f"isolation 'fork' steps back: {reason}"
        self._after_tests.append(start(self._config).after_last_test)
        return ""


def places_of(config: pytest.Config, state: RunState) -> Places:
    """What this run isolates by mounts, and what stays real."""
    from windtunnel.run.isolation.namespace import Places

    base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    sessions = next((p for p in base.parents if p.name.startswith("pytest-of-")), base)
    root = os.path.realpath(state.root)
    patterns = list(state.settings.write_through)
    cache = getattr(config, "cache", None)
    if cache is not None:
        patterns.append(str(cache._cachedir))
    return Places(
        root=root,
        others=("/tmp", tempfile.gettempdir(), os.path.expanduser("~")),
        real=(str(state.state_dir), str(base), str(sessions)),
        patterns=PathPatterns(root, patterns),
        scratch=_scratch(state),
    )


def _scratch(state: RunState) -> str:
    """A folder to mount on; it stays empty on the disk."""
    folder = state.state_dir / "namespace"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)
    return tempfile.mkdtemp(prefix="wt-namespace-")


def _only_linux() -> None:
    if not linux.available:
        raise IsolationError("namespaces cannot be had", found="this system is not Linux")
