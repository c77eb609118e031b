"""Watches whether a suite asks who it is before its workers exist.

Under pytest-xdist a conftest may read ``PYTEST_XDIST_WORKER`` or ``config.workerinput`` while it
is imported or configured, say to name a database. A worker forked after that would have the
controller's answer. So both are watched until the workers are made, and a suite that asked gets
spawned workers, which import everything anew with the answer in place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

_VARIABLES = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID")
_LIBRARIES = ("xdist", "windtunnel", "_pytest", "pytest", "pluggy")


class IdentityWatch:
    """Notes the first place that asked; :attr:`asked` is empty while nobody has."""

    def __init__(self) -> None:
        self.asked = ""
        self.root = Path()
        self._environ_type = type(os.environ)
        self._config: pytest.Config | None = None
        self._config_type: type[pytest.Config] = pytest.Config

    def start(self, config: pytest.Config) -> None:
        """Watch the process's environment and this config."""
        watch = self
        self.root = config.rootpath

        class WatchedEnviron(self._environ_type):  # type: ignore[name-defined,misc]
            def __getitem__(self, key: str) -> str:
                if key in _VARIABLES:
                    watch._note(f"os.environ[{key!r}]")
                value: str = super().__getitem__(key)
                return value

        class WatchedConfig(type(config)):  # type: ignore[misc]
            def __getattr__(self, name: str) -> object:
                if name == "workerinput":
                    watch._note("config.workerinput", own_code_in=watch.root)
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        self._config, self._config_type = config, type(config)
        os.environ.__class__ = WatchedEnviron
        config.__class__ = WatchedConfig

    def stop(self) -> None:
        """Put both back."""
        os.environ.__class__ = self._environ_type
        if self._config is not None:
            self._config.__class__ = self._config_type

    def _note(self, what: str, own_code_in: Path | None = None) -> None:
        frame = sys._getframe(2)
        while frame.f_back is not None and frame.f_globals.get("__name__") in (
            "os",
            "_collections_abc",
            "collections.abc",
        ):
            frame = frame.f_back
        module = str(frame.f_globals.get("__name__", ""))
        file = frame.f_code.co_filename
        if module.split(".", 1)[0] in _LIBRARIES:
            return
        # Many plugins look for workerinput and are content without; a project's own code that
        # looks means to do something by it.
        if own_code_in is not None and (
            "site-packages" in file or not Path(file).is_relative_to(own_code_in)
        ):
            return
        self.asked = self.asked or f"{what} read at {file}:{frame.f_lineno}"


WATCH = pytest.StashKey[IdentityWatch]()
"""Where ``config.stash`` keeps what was seen while conftests were imported."""
