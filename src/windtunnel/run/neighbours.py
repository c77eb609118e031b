"""What plugins written for pytest-xdist expect of its controller and workers, said by ours.

pytest-xdist's controller collects nothing itself and, when a worker leaves, calls the hook
``pytest_testnodedown`` with what the worker left in ``config.workeroutput``; before that, it has
called ``pytest_configure_node`` to fill the worker's ``config.workerinput``. Ours collects, and
has no such hooks where pytest-xdist is not installed. A test in a forked child is one worker more.

Three plugins need more than the hooks. pytest-randomly and pytest-cov read in every worker what
their hooks would have put there. syrupy keeps in memory which snapshots were written and used, and
deletes under ``--snapshot-update`` those of which it does not know.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_OF_CHILDREN = "wt_children"


def worker_left(config: pytest.Config, worker: str, output: dict[str, Any]) -> None:
    """Tell the plugins of the controller what a worker, and its children, left behind."""
    children = output.pop(_OF_CHILDREN, [])
    syrupy = getattr(config, "_syrupy", None)
    if syrupy is not None:
        _forget_own_collection(syrupy)
    for left in (output, *children):
        gateway = SimpleNamespace(id=worker)
        node = SimpleNamespace(config=config, workeroutput=left, workerinput={}, gateway=gateway)
        _call_hook("pytest_testnodedown", config, node=node, error=None)
        if hasattr(syrupy, "add_worker_report") and not config.pluginmanager.hasplugin("xdist"):
            # Its hook for pytest-xdist, which it registers only where that is loaded.
            importlib.import_module("syrupy").DeferXDist().pytest_testnodedown(node, None)


def workers_begin(session: pytest.Session) -> None:
    """Before the first worker begins: make what they must share.

    syrupy's workers merge what they write into one file a test file, under a lock beside it. In
    mount namespaces they share a folder that is there when they begin, and no other.
    """
    config = session.config
    if not (hasattr(config, "_syrupy") and getattr(config.option, "update_snapshots", False)):
        return
    name = getattr(config.option, "snapshot_dirname", "__snapshots__")
    for place in {item.path.parent / name for item in session.items}:
        with contextlib.suppress(OSError):  # one that is there; a project that cannot be written
            place.mkdir()
            config.add_cleanup(functools.partial(_remove_if_empty, place))


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def worker_begins(config: pytest.Config, worker: str, workerinput: dict[str, Any]) -> None:
    """Before a worker is spawned: have plugins fill the ``config.workerinput`` they read there."""
    node = SimpleNamespace(
        config=config, workerinput=workerinput, gateway=SimpleNamespace(id=worker)
    )
    _call_hook("pytest_configure_node", config, node=node)
    if hasattr(config.option, "randomly_seed"):
        # Without pytest-xdist nobody calls it, and pytest-randomly reads it all the same.
        workerinput.setdefault("randomly_seed", config.option.randomly_seed)
    measuring = getattr(config.pluginmanager.get_plugin("_cov"), "cov_controller", None)
    if measuring is not None:
        workerinput["cov_master_host"] = socket.gethostname()
        workerinput["cov_master_topdir"] = measuring.topdir


def child_left(config: pytest.Config, output: dict[str, Any]) -> None:
    """In the process that forked a child for a test: keep, or pass on, what it left behind."""
    own: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if own is not None:
        own.setdefault(_OF_CHILDREN, []).append(output)
    else:
        worker_left(config, "main", output)


def leave(config: pytest.Config) -> dict[str, Any]:
    """In a forked child, after its test: have what is kept in memory written, and return what
    the parent must know of it."""
    syrupy = getattr(config, "_syrupy", None)
    if syrupy is None or not syrupy._assertions:
        return {}
    config.workeroutput = {}  # type: ignore[attr-defined]
    os.environ.setdefault("PYTEST_XDIST_WORKER", "child")  # a worker's end, not a run's
    syrupy.finish()
    return dict(config.workeroutput)  # type: ignore[attr-defined]


def _call_hook(name: str, config: pytest.Config, **arguments: object) -> None:
    hook = getattr(config.hook, name, None)
    if hook is None:
        return
    # pytest-cov's hooks stop at a controller that is not pytest-xdist's; its data are files.
    coverage = config.pluginmanager.get_plugin("_cov")
    if coverage is not None:
        hook = config.pluginmanager.subset_hook_caller(name, [coverage])
    hook(**arguments)


def _forget_own_collection(syrupy: Any) -> None:
    """Have syrupy see a controller that collected nothing, as pytest-xdist's.

    Tests that were collected here and never run here are to it tests whose snapshots nobody
    uses, and those of the workers' reports come after its own.
    """
    for name in ("_collected_items", "_selected_items"):
        getattr(syrupy, name, {}).clear()
