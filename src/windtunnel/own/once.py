"""Values made once for all workers of a run, and taken down by the last who uses them.

The count is the kernel's: each user holds a shared lock on one file, so the users are exactly the
holders that live, and a worker killed with ``kill -9`` is not counted any more. Whoever
leaves and can turn its lock into an exclusive one was the last, and takes the value down. All
entering and leaving happens under a second lock, one process at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

from windtunnel.core import ResourceError, UsageError
from windtunnel.own.inventory import Inventory, writing_to
from windtunnel.own.ledger import note
from windtunnel.own.locks import FileLock
from windtunnel.own.reaper import Reaped, reap_entries
from windtunnel.own.scope import Scope
from windtunnel.own.waiting import wait_until

T = TypeVar("T")


class Shared(Generic[T]):
    """This process's part in a value that all workers share; a context manager.

    :param name: the value's name, unique in ``directory``.
    :param make: makes it, given a :class:`Scope` that owns, on behalf of all users, the
        children, folders, files and mounts that belong to it. The value must survive JSON.
    :param destroy: takes down, given the value, what that scope does not own; run by the last
        user before the scope is ended.
    :param directory: where users meet.
    :param within: seconds to wait while another process makes it or takes it down.
    :raises UsageError: when the value made is none of JSON's.
    :raises ResourceError: when the other process takes longer than ``within``.

    >>> import tempfile
    >>> there = Path(tempfile.mkdtemp())
    >>> first = Shared("answer", lambda scope: 42, directory=there)
    >>> second = Shared("answer", lambda scope: 43, directory=there)
    >>> second.value
    42
    >>> first.leave(); second.leave()
    """

    kind = "once"

    def __init__(
        self,
        name: str,
        make: Callable[[Scope], T],
        destroy: Callable[[T], object] | None = None,
        *,
        directory: Path,
        within: float = 600.0,
    ) -> None:
        self.name = name
        self._destroy = destroy
        self._within = within
        self._pid = os.getpid()
        self._files = _Files(directory, name)
        with self._alone():
            users = FileLock(self._files.users)
            try:
                self.value: T = self._enter(users, make)
            except BaseException:
                users.close()
                raise
            self._users = users

    def is_last(self) -> bool:
        """Whether no other process uses the value now."""
        with self._alone():
            last = self._users.take()
            # A lock that could not be turned into an exclusive one is lost in the attempt
            # (flock(2)); nobody can have come in between, as we are alone in here.
            self._users.take(shared=True)
        return last

    def leave(self) -> None:
        """Stop using the value; the last user takes it down.

        :raises Exception: what ``destroy`` raised, after the rest was taken down.
        """
        if self._pid != os.getpid():
            return
        self._pid = -1
        with self._alone():
            try:
                if self._users.take():
                    self._take_down(self.value)
            finally:
                self._users.close()

    def __enter__(self) -> Shared[T]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        gate = self._files.open_gate(self._within)
        if gate is None:
            raise ResourceError(
                f"the shared {self.name!r} was not ready within {self._within:g} s",
                found="another process is still making it or taking it down",
                fix="give it longer with within=SECONDS",
            )
        try:
            yield
        finally:
            gate.close()

    def _enter(self, users: FileLock, make: Callable[[Scope], T]) -> T:
        if not users.take():
            users.take(shared=True)
            value: T = json.loads(self._files.value.read_text(encoding="utf-8"))["value"]
            return value
        if self._files.value.exists():
            # Its users were all killed. What they left is not trusted, and made anew.
            stale = json.loads(self._files.value.read_text(encoding="utf-8"))["value"]
            self._take_down(stale)
        self._files.end_what_is_listed()  # by a maker that was killed before it was done
        made = self._make(make)
        # From exclusive to shared is not one step for the kernel, but we are alone in here.
        users.take(shared=True)
        return made

    def _make(self, make: Callable[[Scope], T]) -> T:
        scope = Scope(self.name)
        try:
            with writing_to(Inventory(self._files.directory, shared_as=self._files.listed.name)):
                value = make(scope)
            text = _as_json(self.name, value)
        except BaseException:
            scope.close()
            raise
        scope.abandon()
        self._files.write_value(text)
        note("acquired", self.kind, self.name)
        return value

    def _take_down(self, value: T) -> None:
        self._files.value.unlink(missing_ok=True)
        try:
            if self._destroy is not None:
                self._destroy(value)
        finally:
            self._files.end_what_is_listed()
            note("released", self.kind, self.name)


shared = Shared


class Members:
    """The processes of a run that may still come to use its shared values.

    A process that is done may be the last user of a value and yet not the last who will want it:
    it waits until the others want it too, or are done as well.

    :param directory: where the run's users meet.
    """

    def __init__(self, directory: Path) -> None:
        while True:
            # The last of another crowd may be removing it: it exists, and then it does not.
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                directory.mkdir(parents=True, exist_ok=True)
                self._lock = FileLock(directory / "members")
                if self._lock.take(shared=True) and self._lock.in_place:
                    return
                self._lock.close()  # the last of another crowd is removing it

    def others_are_done(self) -> bool:
        """Whether nobody else is a member. Who asks is not one any more itself."""
        return self._lock.take()

    def close(self) -> None:
        """Be done."""
        self._lock.close()


def reap_shared(directory: Path) -> list[Reaped]:
    """Clear the shared values under ``directory`` (one folder a run) whose users are all dead."""
    return [reaped for run in sorted(directory.iterdir()) for reaped in clear_run(run)]


def clear_run(directory: Path) -> list[Reaped]:
    """Clear one run's values without users, and its folder where no member is left."""
    found: list[Reaped] = []
    for gate_path in sorted(directory.glob("*.gate")):
        files = _Files(directory, stem=gate_path.stem)
        gate = files.open_gate(within=0)
        if gate is None:
            continue
        users = FileLock(files.users)
        try:
            if users.take():
                if files.value.exists():
                    found.append(Reaped("once", unquote(files.value.stem)))
                found += files.end_what_is_listed()
                files.remove()
        finally:
            users.close()
            gate.close()
    _remove_folder(directory)
    return found


def _remove_folder(directory: Path) -> None:
    members = directory / "members"
    with contextlib.suppress(OSError):
        if members.exists():
            lock = FileLock(members)
            if lock.take():
                members.unlink(missing_ok=True)
            lock.close()
        directory.rmdir()


class _Files:
    """The files of one shared value."""

    def __init__(self, directory: Path, name: str = "", *, stem: str = "") -> None:
        self.directory = directory
        stem = stem or quote(name, safe="").replace(".", "%2E")
        self.gate = directory / f"{stem}.gate"
        self.users = directory / f"{stem}.users"
        self.value = directory / f"{stem}.json"
        self.listed = directory / f"{stem}.jsonl"

    def open_gate(self, within: float) -> FileLock | None:
        """The gate, locked; None where it was not to be had in time."""
        while True:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                gate = FileLock(self.gate)
            except (FileNotFoundError, FileExistsError):
                continue  # a reaper has removed the folder just now
            if not wait_until(gate.take, within):
                gate.close()
                return None
            if gate.in_place:
                return gate
            gate.close()

    def write_value(self, text: str) -> None:
        draft = self.value.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.value)

    def end_what_is_listed(self) -> list[Reaped]:
        if not self.listed.exists():
            return []
        found = reap_entries(self.listed.read_text(encoding="utf-8").splitlines())
        self.listed.unlink()
        return found

    def remove(self) -> None:
        for path in (self.value, self.listed, self.users, self.gate):
            path.unlink(missing_ok=True)


def _as_json(name: str, value: Any) -> str:
    text = _dumps(value)
    if text is None or json.loads(text)["value"] != value:
        raise UsageError(
            f"the shared {name!r} cannot be handed to other processes",
            found=f"{value!r:.80} does not survive JSON",
            fix="return numbers, strings, lists and dicts with string keys",
        )
    return text


def _dumps(value: Any) -> str | None:
    try:
        return json.dumps({"value": value})
    except (TypeError, ValueError):
        return None
