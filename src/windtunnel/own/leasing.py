"""Leases in a test run: who uses them is found out after collection, the rest is attached then.

A run in which no test leases anything, and nothing opens a scope, pays for one look at each
collected item and no more.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from windtunnel.core import Settings

if TYPE_CHECKING:
    from windtunnel.own.lending import Leasing

FIXTURES = ("leases", "port_lease", "redis_lease", "postgres_lease")


class Process(Protocol):
    """What leasing needs to know of the run's part in this process
    (:class:`windtunnel.run.session.RunState`)."""

    settings: Settings
    worker: str
    run_id: str
    root: Path
    stays: bool

    @property
    def role(self) -> str: ...
    @property
    def state_dir(self) -> Path: ...


def attach(config: pytest.Config, state: Process) -> None:
    """Clear what dead runs left, and watch for tests that use leases."""
    if state.role != "worker":
        reap_leftovers(state.state_dir)
    config.stash[WATCHER] = watcher = Watcher(config, state)
    config.pluginmanager.register(watcher, "windtunnel-leases-watcher")


def reap_leftovers(state_dir: Path) -> None:
    """Run the reaper where an owner has died; a look at the locks tells that cheaply."""
    from windtunnel.own.home import folder

    directories = (state_dir / "own", folder("own"))
    suspects = [path for directory in directories for path in directory.glob("*.jsonl")]
    suspects += (folder("own").parent / "servers").glob("*")
    if (state_dir / "own" / "once").exists() or any(map(_is_free, suspects)):
        from windtunnel.own.reaper import reap

        reap(state_dir)


def _is_free(path: Path) -> bool:
    """Whether nobody holds an inventory or a server's folder."""
    import fcntl
    import os

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # its owner has just removed it
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


class Watcher:
    """Attaches leasing to the run as soon as something needs it."""

    def __init__(self, config: pytest.Config, state: Process) -> None:
        self._config = config
        self._state = state
        self._leasing: Leasing | None = None

    def leasing(self) -> Leasing:
        """The run's leasing in this process, attached when first asked for."""
        if self._leasing is None:
            from windtunnel.own.lending import Leasing

            self._leasing = Leasing(self._config, self._state)
            self._config.pluginmanager.register(self._leasing, "windtunnel-leases")
        return self._leasing

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        settings = self._state.settings
        uses_redis = False
        needed = bool(settings.lease) or "windtunnel.own.scope" in sys.modules
        for item in session.items:
            names = facilities_of(item)
            uses_redis = uses_redis or "redis" in names
            needed = needed or bool(names) or _uses_fixture(item, "leases", "port_lease")
            needed = needed or item.get_closest_marker("lease") is not None
        if needed:
            leasing = self.leasing()
            leasing.everywhere = ("redis",) if uses_redis else ()
            leasing.may_share = any(_uses_fixture(item, "leases") for item in session.items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        result = yield
        if self._leasing is None and "windtunnel.own.scope" in sys.modules:
            # A scope was first opened in the midst of this test.
            self.leasing().look_for_leaks(item)
        return result


WATCHER = pytest.StashKey[Watcher]()
"""Where ``config.stash`` keeps this process's :class:`Watcher`."""


def facilities_of(item: pytest.Item) -> set[str]:
    """Which of ``redis`` and ``postgres`` a test asks for, by fixture or marker."""
    asked = {mark.args[0] for mark in item.iter_markers("lease") if mark.args}
    return {
        name
        for name in ("redis", "postgres")
        if name in asked or _uses_fixture(item, f"{name}_lease")
    }


def _uses_fixture(item: pytest.Item, *names: str) -> bool:
    """Whether a test uses a fixture of ours; a user's own of that name is not ours."""
    info = getattr(item, "_fixtureinfo", None)
    if info is None:
        return False
    for name in names:
        definitions = info.name2fixturedefs.get(name)
        if definitions and getattr(definitions[-1].func, "__module__", "") == "windtunnel.plugin":
            return True
    return False
