"""Labs: where experiments run. One forks a collected session; one starts pytest afresh.

Both take the tests in the order they shall run in, and conditions, and give a
:class:`~windtunnel.probe.experiment.Trial`. Both keep what the tests write in an overlay that
vanishes with the experiment, where the machine allows it, so that no experiment sees the traces
of the one before.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.core import Outcome, UsageError
from windtunnel.probe import chamber
from windtunnel.probe.chamber import VARIABLE
from windtunnel.probe.experiment import AS_IT_IS, Conditions, Item, Result, Trial
from windtunnel.probe.watch import watch

_CHAMBER = [sys.executable, "-I", "-S", str(chamber.__file__)]
_COLLECT_WITHIN_S = 300.0


class Site:
    """What all labs of one hunt share: the interpreter, pytest's arguments, the folders.

    :param arguments: given to every pytest, before the tests.
    :param cwd: the folder pytest is started in.
    :param limit_s: seconds a test may take that has no limit of its own in ``limits``.
    """

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, limit_s: float, snapshot: bool = True
    ) -> None:
        self.arguments = tuple(arguments)
        self.cwd = cwd
        self.limit_s = limit_s
        self.limits: dict[str, float] = {}
        self.notes: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="windtunnel-hunt-"))
        self.folder.chmod(0o755)
        self.layers = self.folder / "layers"
        self.layers.mkdir()
        self.snapshot: list[str] = _folders(cwd) if snapshot else []

    def wishes(self, conditions: Conditions) -> dict[str, object]:
        """The conditions as the chamber and the observer read them, with the snapshot."""
        wishes = conditions.wishes()
        if self.snapshot:
            wishes |= {"snapshot": self.snapshot, "layers": str(self.layers)}
        return wishes

    def judge_missing(self, missing: Mapping[str, str]) -> None:
        """Do without what this machine does not give, and say so once."""
        if "snapshot" in missing and self.snapshot:
            self.notes.append(
                "experiments share the file system, so what one leaves in files the next may see "
                f"({missing['snapshot']})"
            )
            self.snapshot = []

    def protect(self, folder: str) -> None:
        """Have the changes in that folder vanish as well."""
        if self.snapshot:
            self.snapshot = _outermost([*self.snapshot, folder])

    def close(self) -> None:
        """Remove the hunt's folder."""
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)


def _folders(cwd: Path) -> list[str]:
    if sys.platform != "linux":
        return []
    return _outermost([str(cwd), tempfile.gettempdir(), os.path.expanduser("~")])


def _outermost(folders: Sequence[str]) -> list[str]:
    """Those folders that no other of them holds on the same file system."""
    real = sorted({os.path.realpath(folder) for folder in folders if os.path.isdir(folder)})
    kept: list[str] = []
    for folder in real:
        holders = [k for k in kept if folder.startswith(k + "/")]
        if folder != "/" and not any(_device(k) == _device(folder) for k in holders):
            kept.append(folder)
    return kept


def _device(folder: str) -> int:
    return os.stat(folder).st_dev


class Lab:
    """A process that collected once and forks a child an experiment.

    :param arguments: what to collect, as on pytest's command line.
    :param conditions: under which to collect; those of an experiment come on top.
    :raises UsageError: when pytest could not collect there, with the end of what it said.
    """

    def __init__(
        self, site: Site, arguments: Sequence[str] = (), conditions: Conditions = AS_IT_IS
    ) -> None:
        self.site = site
        self.arguments = tuple(arguments)
        requests_out, self._requests = os.pipe()
        self._answers, answers_in = os.pipe()
        log = tempfile.TemporaryFile()  # noqa: SIM115  # it outlives this function's success
        server = [str(requests_out), str(answers_in), *site.arguments, *arguments]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "windtunnel.probe.lab_server", *server],
            cwd=site.cwd,
            env={
                **os.environ,
                **dict(conditions.environment),
                VARIABLE: json.dumps({"wishes": conditions.wishes()}),
            },
            pass_fds=(requests_out, answers_in),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(requests_out)
        os.close(answers_in)
        self._lines = os.fdopen(self._answers, "r", encoding="utf-8")
        ready = self._read()
        if ready is None:
            self.close()
            log.seek(0)
            said = log.read().decode(errors="replace").strip()
            raise UsageError(
                "pytest could not collect the suite",
                found=said[-1500:] or "no output",
                fix="make `python -m pytest --collect-only` work first",
            )
        log.close()
        self.items = [Item(*fields) for fields in ready["items"]]
        self.errors: list[str] = ready["errors"]
        self.threads: int = ready["threads"]
        self.rootdir: str = ready["rootdir"]
        self.undone: list[str] = ready["undone"]
        self._index = {item.nodeid: index for index, item in enumerate(self.items)}
        self._serial = 0

    @property
    def forkable(self) -> bool:
        """Whether the collected process may be forked: it has no threads."""
        return self.threads == 1

    def run(self, order: Sequence[str], conditions: Conditions = AS_IT_IS) -> Trial:
        """Run those tests in that order in a forked child."""
        self._serial += 1
        limits, limit_s = _limits(self.site, conditions)
        request = {
            "order": [self._index[nodeid] for nodeid in order],
            "wishes": self.site.wishes(conditions),
            "limits": limits,
            "limit_s": limit_s,
            "basetemp": str(self.site.folder / f"base{self._serial}"),
        }
        os.write(self._requests, json.dumps(request).encode() + b"\n")
        answer = self._read()
        if answer is None:
            raise UsageError("the lab's process ended in the middle of an experiment")
        self.site.judge_missing(answer["missing"])
        return Trial(
            results=tuple(
                Result(
                    nodeid=nodeid,
                    outcome=Outcome(outcome),
                    phase=phase,
                    duration_s=duration_s,
                    message=message,
                    stacks=stacks,
                )
                for nodeid, outcome, phase, duration_s, message, stacks in answer["results"]
            ),
            missing=answer["missing"],
            reached=tuple(answer["reached"]),
        )

    def _read(self) -> dict[str, Any] | None:
        line = self._lines.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        """End the process."""
        os.close(self._requests)
        self._process.kill()
        self._process.wait()
        self._lines.close()


def _limits(site: Site, conditions: Conditions) -> tuple[dict[str, float], float]:
    """Seconds that each test, and any other, may take under these conditions."""
    longer = 20.0 if conditions.slowing else 1.0
    return {nodeid: limit_s * longer for nodeid, limit_s in site.limits.items()}, (
        site.limit_s * longer
    )


class Fresh:
    """Starts a pytest process an experiment, as a user would.

    :param paths: where each node id's file is, relative to the site's folder; what is not in it
        is given to pytest as it stands.
    """

    def __init__(self, site: Site, spelled: Mapping[str, str]) -> None:
        self.site = site
        self.spelled = spelled
        self.reordered = False

    def command(self, order: Sequence[str], extra: Sequence[str] = ()) -> list[str]:
        """The command that runs those tests in that order."""
        command = ["python", *self._words(order, extra)]
        if self.reordered and len(order) > 1:
            wishes = json.dumps({"order": list(order)})
            return ["python", "-m", "windtunnel.probe.chamber", wishes, *command]
        return command

    def run(
        self,
        order: Sequence[str],
        conditions: Conditions = AS_IT_IS,
        extra: Sequence[str] = (),
    ) -> Trial:
        """Run that command under those conditions.

        Where pytest gives the tests another order than the command line does, as a project's
        conftest or fixtures of wider scope can have it, the order is forced, then and from then on.
        """
        trial = self._run(order, conditions, extra)
        if not self.reordered and trial.order != tuple(order):
            if sorted(trial.order) != sorted(order):
                return trial
            self.reordered = True
            self.site.notes.append(
                "the project gives its tests an order of its own, so commands force theirs"
            )
            return self._run(order, conditions, extra)
        return trial

    def _words(self, order: Sequence[str], extra: Sequence[str]) -> list[str]:
        tests = [self.spelled.get(nodeid, nodeid) for nodeid in order]
        return ["-m", "pytest", *self.site.arguments, *extra, *tests]

    def _run(self, order: Sequence[str], conditions: Conditions, extra: Sequence[str]) -> Trial:
        command = [sys.executable, *self._words(order, extra)]
        limits, limit_s = _limits(self.site, conditions)
        lines, lines_in = os.pipe()
        stacks, stacks_in = os.pipe()
        wishes = self.site.wishes(conditions)
        if self.reordered:
            wishes["order"] = list(order)
        pipes = {"lines": lines_in, "stacks": stacks_in}
        process = subprocess.Popen(
            [*_CHAMBER, json.dumps(wishes), *command],
            cwd=self.site.cwd,
            env={
                **os.environ,
                **dict(conditions.environment),
                VARIABLE: json.dumps(pipes),
            },
            pass_fds=(lines_in, stacks_in),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(lines_in)
        os.close(stacks_in)
        try:
            return watch(
                process.pid,
                lines,
                stacks,
                order,
                limits,
                limit_s=limit_s,
                start_s=_COLLECT_WITHIN_S,
            )
        finally:
            os.close(lines)
            os.close(stacks)
            process.wait()  # already reaped by watch: this is only for Popen's own state


@contextlib.contextmanager
def rivals(conditions: Conditions) -> Iterator[None]:
    """Keep the conditions' core busy meanwhile."""
    spinners: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(conditions.rivals):
            spinners.append(
                subprocess.Popen(
                    [*_CHAMBER, "--spin", str(conditions.core)], start_new_session=True
                )
            )
        yield
    finally:
        for spinner in spinners:
            spinner.send_signal(signal.SIGKILL)
            spinner.wait()
