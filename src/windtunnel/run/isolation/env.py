"""Isolation ``env``: variables, TMPDIR, HOME, working directory and metrics of each test's own.

Applied within the process that runs the tests, around each test, by the borders of
:mod:`windtunnel.run.isolation.boundary`: a wider-scoped fixture sees, and changes, the worker's
state and not the state of the test that happened to need it first.
"""

from __future__ import annotations

import contextlib
import os
import site
import tempfile
from pathlib import Path

import pytest

from windtunnel.run.isolation import environ
from windtunnel.run.isolation.folders import Folders
from windtunnel.run.isolation.project_copy import ProjectCopy
from windtunnel.run.isolation.prometheus import Metrics
from windtunnel.run.session import RunState

_TEMPORARY = (b"TMPDIR", b"TEMP", b"TMP")
_METRICS_FOLDER = b"PROMETHEUS_MULTIPROC_DIR"
_UNDER_HOME = (b"XDG_CONFIG_HOME", b"XDG_CACHE_HOME", b"XDG_DATA_HOME", b"XDG_STATE_HOME")


class EnvIsolation:
    """Keeps the process's environment of each test apart; a part of the boundary."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        # pytest's own temporary folders are the session's: found before TMPDIR is moved.
        base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        self._folders = Folders(base / f"env-{os.getpid()}")
        self._copy = (
            ProjectCopy(state.root, self._folders.root) if state.settings.cwd == "copy" else None
        )
        self._metrics = Metrics()
        self._started_with = _environment_at_start(config)
        self._worker_variables: dict[bytes, bytes] = {}
        self._test_variables: dict[bytes, bytes] = {}
        self._worker_cwd = self._test_cwd = os.getcwd()
        self._worker_tempdir: str | None = None
        self._test_tempdir: str | None = None

    def close(self) -> None:
        """Remove everything on disk."""
        self._folders.remove()

    # -- a part of the boundary -------------------------------------------------------------------

    def enter(self, item: pytest.Item) -> None:
        self._worker_variables = environ.snapshot()
        self._worker_cwd = self._cwd(self._worker_cwd)
        self._worker_tempdir = tempfile.tempdir
        folder = self._folders.fresh()
        self._test_variables = self._fresh_variables(folder.tmp, folder.home)
        moved = self._test_variables.get(b"TMPDIR") == os.fsencode(folder.tmp)
        self._test_tempdir = folder.tmp if moved else self._worker_tempdir
        self._test_cwd = (
            self._copy.into(folder.path, self._worker_cwd) if self._copy else self._worker_cwd
        )
        self._metrics.enter()
        self._become_test()

    def pause(self) -> None:
        self._test_variables = environ.snapshot()
        self._test_cwd = self._cwd(self._test_cwd)
        self._test_tempdir = tempfile.tempdir
        self._metrics.pause()
        self._become_worker()

    def resume(self) -> None:
        variables = environ.snapshot()
        self._test_variables = environ.rebased(
            self._test_variables, self._worker_variables, variables
        )
        self._worker_variables = variables
        cwd = self._cwd(self._worker_cwd)
        if cwd != self._worker_cwd:
            self._worker_cwd = self._test_cwd = cwd
        if tempfile.tempdir != self._worker_tempdir:
            self._worker_tempdir = self._test_tempdir = tempfile.tempdir
        self._metrics.resume()
        self._become_test()

    def leave(self, item: pytest.Item) -> None:
        self._become_worker()
        self._metrics.leave()
        self._folders.release()

    # -- the two states -------------------------------------------------------------------------

    def _become_test(self) -> None:
        environ.apply(self._test_variables)
        tempfile.tempdir = self._test_tempdir
        _change_directory(self._test_cwd)

    def _become_worker(self) -> None:
        environ.apply(self._worker_variables)
        tempfile.tempdir = self._worker_tempdir
        _change_directory(self._worker_cwd)

    def _fresh_variables(self, tmp: str, home: str) -> dict[bytes, bytes]:
        """The worker's variables with TMPDIR and HOME moved, unless the project has moved them:
        what a conftest or a session fixture sets is meant for the tests."""
        variables = self._worker_variables.copy()
        if self._untouched(b"TMPDIR"):
            for name in _TEMPORARY:
                if name == b"TMPDIR" or name in variables:
                    variables[name] = os.fsencode(tmp)
        if self._untouched(b"HOME"):
            variables[b"HOME"] = os.fsencode(home)
            for name in _UNDER_HOME:
                if self._untouched(name):
                    variables.pop(name, None)
            # Python programs that a test starts find packages installed for the user by HOME.
            if site.ENABLE_USER_SITE and b"PYTHONUSERBASE" not in variables:
                variables[b"PYTHONUSERBASE"] = os.fsencode(site.getuserbase())
        if _METRICS_FOLDER in variables:
            metrics = f"{os.path.dirname(home)}/prometheus"
            os.mkdir(metrics, 0o700)
            variables[_METRICS_FOLDER] = os.fsencode(metrics)
        return variables

    def _untouched(self, name: bytes) -> bool:
        return self._worker_variables.get(name) == self._started_with.get(name)

    @staticmethod
    def _cwd(otherwise: str) -> str:
        try:
            return os.getcwd()
        except FileNotFoundError:  # a test has removed the directory it stood in
            return otherwise


def _change_directory(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if os.getcwd() == path:
            return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.chdir(path)


def _environment_at_start(config: pytest.Config) -> dict[bytes, bytes]:
    """The variables before any conftest was loaded, kept by our plugin."""
    kept: dict[str, str] = vars(config.pluginmanager).get("windtunnel_environ", os.environ)
    return {os.fsencode(name): os.fsencode(value) for name, value in kept.items()}
