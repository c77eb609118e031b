"""The process of a lab: it collects a suite once and runs each experiment in a forked child.

Started by :class:`windtunnel.probe.lab.Lab` as ``python -m windtunnel.probe.lab_server``; it talks
JSON lines over two descriptors. A child begins as the collected session was, untouched by any
test, so an experiment costs its tests and a few milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

import pytest

from windtunnel.probe import chamber, inside, observer
from windtunnel.probe.experiment import Trial
from windtunnel.probe.watch import watch


class LabServer:
    """A pytest plugin whose run loop serves experiments instead of running the session."""

    def __init__(self, requests: TextIO, answers: TextIO) -> None:
        self.requests = requests
        self.answers = answers
        self.errors: list[str] = []
        self.base: dict[str, Any] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected."""
        if report.failed:
            last = str(report.longrepr).strip().rpartition("\n")[2]
            self.errors.append(f"{report.nodeid}: {last[:300]}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Say what was collected, then serve until the hunter goes."""
        self._answer(
            items=[_describe(item) for item in session.items],
            errors=self.errors,
            threads=_threads(),
            undone=observer.undone,
            rootdir=str(session.config.rootpath),
        )
        for line in self.requests:
            request = json.loads(line)
            trial = _experiment(session, request)
            self._answer(
                results=[
                    [r.nodeid, r.outcome, r.phase, r.duration_s, r.message, r.stacks]
                    for r in trial.results
                ],
                missing=trial.missing,
                reached=trial.reached,
            )
        os._exit(0)  # a session that ran nothing has nothing to finish, and leaves no cache

    def _answer(self, **answer: object) -> None:
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()


def _describe(item: pytest.Item) -> list[str]:
    inner = item.nodeid.partition("::")[2]
    return [item.nodeid, str(item.path), inner]


def _threads() -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/task"))
    return threading.active_count()


def _experiment(session: pytest.Session, request: dict[str, Any]) -> Trial:
    lines, lines_in = os.pipe()
    stacks, stacks_in = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _child(session, request, lines_in, stacks_in)
        finally:
            os._exit(70)
    os.close(lines_in)
    os.close(stacks_in)
    nodeids = [item.nodeid for item in session.items]
    try:
        return watch(pid, lines, stacks, nodeids, request["limits"], limit_s=request["limit_s"])
    finally:
        os.close(lines)
        os.close(stacks)
        _kill_orphans()


def _kill_orphans() -> None:
    """What a test started and did not stop came to us when its parent ended."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    for _ in range(20):  # each round may orphan the next generation
        try:
            pids = [int(word) for word in path.read_text().split()]
        except OSError:
            return
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _child(session: pytest.Session, request: dict[str, Any], lines: int, stacks: int) -> None:
    os.setsid()
    chamber.die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reporter = observer.begin(lines, stacks)
    reporter.index_of = {item.nodeid: index for index, item in enumerate(session.items)}
    wishes = request["wishes"]
    observer.wish(wishes)
    missing = chamber.enter(wishes)
    if missing:
        reporter.say("missing", missing=missing)
    _own_capture(session.config)
    if "snapshot" not in wishes:
        _own_basetemp(session.config, Path(request["basetemp"]))
    inside.fresh_randomness(session.config)
    inside.apply(wishes, session.config)
    reporter.watch_network()
    items = [session.items[index] for index in request["order"]]
    try:
        if wishes.get("apart"):
            while len(items) > 1:
                _run_apart(items.pop(0))
        _run(items)
    except BaseException as error:  # pytest.exit, SystemExit: the session would have ended too
        reporter.say("broke", why=repr(error)[:300])
    reporter.say("done")
    os._exit(0)


def _run(items: list[pytest.Item]) -> None:
    for item, nextitem in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)


def _run_apart(item: pytest.Item) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            chamber.die_with_parent()
            if observer.reporter is not None:
                observer.reporter.adopt()
            _run([item])
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _own_capture(config: pytest.Config) -> None:
    """Give the child files of its own to capture into.

    The capture's files are shared with the parent, offset and all, so what a killed child wrote
    would be read by the next. The file objects stay: handlers made at collection hold them.
    """
    if not hasattr(os, "memfd_create"):
        return
    capture: Any = getattr(config.pluginmanager.getplugin("capturemanager"), "_global_capturing", 0)
    for name in ("out", "err"):
        stream = getattr(capture, name, None)
        file: Any = getattr(stream, "tmpfile", None)
        target: int | None = getattr(stream, "targetfd", None)
        if (
            target is None
            or not type(stream).__name__.startswith("FD")
            or not hasattr(os, "memfd_create")
        ):
            continue
        fresh = os.memfd_create(f"captured-{name}")
        os.dup2(fresh, file.fileno(), inheritable=False)
        if getattr(stream, "_state", "") == "started":
            os.dup2(fresh, target)
        os.close(fresh)


def _own_basetemp(config: pytest.Config, folder: Path) -> None:
    factory: Any = getattr(config, "_tmp_path_factory", None)
    if factory is not None:
        factory._given_basetemp = folder
        factory._basetemp = None


def main(argv: list[str]) -> None:
    """``lab_server REQUESTS ANSWERS PYTEST_ARGS...``: serve on these descriptors."""
    chamber.die_with_parent()
    chamber.adopt_orphans()
    requests, answers = (int(word) for word in argv[:2])
    os.set_inheritable(requests, False)
    os.set_inheritable(answers, False)
    sys.argv = [str(Path(pytest.__file__).with_name("__main__.py")), *argv[2:]]
    observer.probe()
    server = LabServer(os.fdopen(requests), os.fdopen(answers, "w"))
    sys.exit(pytest.main(["-p", chamber.OBSERVER, *argv[2:]], plugins=[server]))


if __name__ == "__main__":
    main(sys.argv[1:])
