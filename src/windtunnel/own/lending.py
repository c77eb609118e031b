"""Leasing in the process that runs tests: what is lent to whom, and taken back from them.

Whatever is taken while a fixture is set up belongs to that fixture, and whatever is taken
besides while a test runs belongs to the test. When the owner is done its things are ended, and
what does not end is a leak of the owner's, which fails the test by the thing's name.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from _pytest.fixtures import FixtureDef

from windtunnel.core import Violation, WindtunnelError, emit
from windtunnel.own import inventory
from windtunnel.own.children import MissingBinaryError
from windtunnel.own.demands import Demands, demands_of
from windtunnel.own.facilities import Facilities, Facility, Lease, Postgres
from windtunnel.own.leasing import Process
from windtunnel.own.ledger import place
from windtunnel.own.named import NamedLease, parse_capacities
from windtunnel.own.once import Members, Shared, clear_run
from windtunnel.own.postgres import PostgresLease
from windtunnel.own.scope import Leak, Scope, watch
from windtunnel.own.waiting import wait_until

T = TypeVar("T")


class Leasing:
    """The pytest plugin that lends, exports, takes back and looks for leaks.

    ``everywhere`` names the facilities that every test is given, since the suite uses them.
    """

    def __init__(self, config: pytest.Config, state: Process) -> None:
        self.everywhere: tuple[str, ...] = ()
        self.may_share = False
        """Whether tests of this suite may use values made once for all workers."""
        self.current: dict[str, Lease] = {}
        """What the running test was lent."""
        self.named: NamedLease | None = None
        """The named resources the running test holds."""
        self.owner: object = None
        """The fixture being set up, else the running test."""
        self.state = state
        self._ci = os.environ.get("CI", "").lower() in ("true", "1")
        self._config = config
        self._pid = 0
        self._facilities: Facilities | None = None
        self._problems: dict[str, WindtunnelError] = {}
        self._saved: dict[str, str | None] = {}
        self._scopes: dict[object, Scope] = {}
        self._members: Members | None = None
        self._shared: dict[str, Shared[Any]] = {}  # each name has its own type of value
        self._leaks: list[Leak] = []
        inventory.use_state_dir(state.state_dir)
        watch().owner = lambda: self.owner

    # -- the life of a process ---------------------------------------------------------------

    def pytest_windtunnel_process_started(self) -> None:
        if self.may_share:
            self._members = Members(self._meeting_place())

    def pytest_windtunnel_process_finished(self) -> None:
        self.owner = None
        for scope in reversed(list(self._scopes.values())):
            scope.close()
        self._leave_shared_at_the_end()
        if self._facilities is not None:
            self._facilities.close()
        inventory.close_current()

    # -- the life of a test ------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """In the worker, around all attempts at a test, wherever they run."""
        place.nodeid, place.worker = item.nodeid, self.state.worker
        self.owner, self._pid = item, os.getpid()
        with contextlib.suppress(WindtunnelError):  # set-up meets it again, and tells
            for name in demands_of(item, self).facilities:
                self._lend(name)
        try:
            return (yield)
        finally:
            self._take_back()
            self.owner, place.nodeid = None, ""

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """In the process that makes the attempt; not before skip marks were looked at."""
        try:
            demands = demands_of(item, self)
            for name in demands.facilities:
                self.begin(name, asked=name in demands.asked)
            if demands.amounts:
                self._take_named(demands)
        except WindtunnelError as error:
            problem = error
        else:
            return
        pytest.fail(str(problem), pytrace=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        try:
            result = yield
        except BaseException as error:
            with contextlib.suppress(pytest.fail.Exception):
                self._end_of_attempt(item)
            raise error
        self._end_of_attempt(item)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: FixtureDef[object]
    ) -> Generator[None, object, object]:
        before, self.owner = self.owner, fixturedef
        try:
            return (yield)
        finally:
            self.owner = before

    def pytest_fixture_post_finalizer(self, fixturedef: FixtureDef[object]) -> None:
        self._end_of(fixturedef)

    # -- facilities --------------------------------------------------------------------------

    def begin(self, name: str, *, asked: bool) -> Lease | None:
        """Make what was lent as new for an attempt; None where it cannot be had and the test
        did not ask for it.

        :raises WindtunnelError: when it cannot be had.
        """
        if name not in self.current and name not in self._problems:
            self._lend(name)
        problem = self._problems.get(name)
        if asked and name == "redis":
            self.everywhere = ("redis",)  # found out late, where a fixture asked by hand
        if problem is None:
            lease = self.current[name]
            self._facility(name).begin(lease)
            return lease
        if asked and isinstance(problem, MissingBinaryError) and not self._ci:
            pytest.skip(f"{problem.what}: {problem.fix}")
        if asked or not isinstance(problem, MissingBinaryError):
            raise problem
        return None

    def extra_database(self) -> PostgresLease:
        """A PostgreSQL database that belongs to the current owner."""
        facility = self._facility("postgres")
        assert isinstance(facility, Postgres)
        lease = facility.extra()
        self.scope().callback(facility.take_back, lease, name="drop the database")
        return lease

    def _facility(self, name: str) -> Facility:
        if self._facilities is None:
            self._facilities = Facilities(self.state.settings, self.state.root)
        return self._facilities.get(name)

    def _lend(self, name: str) -> None:
        try:
            lease = self._facility(name).lend()
        except WindtunnelError as error:
            self._problems[name] = error
            return
        self.current[name] = lease
        for variable, value in lease.environment.items():
            self._saved.setdefault(variable, os.environ.get(variable))
            os.environ[variable] = place.exported[variable] = value

    def _take_back(self) -> None:
        for variable, value in self._saved.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        self._saved.clear()
        place.exported.clear()
        for name, lease in self.current.items():
            self._facility(name).take_back(lease)
        self.current.clear()

    def _take_named(self, demands: Demands) -> None:
        settings = self.state.settings
        self.named = NamedLease(
            demands.amounts,
            parse_capacities(settings.capacities),
            within=settings.lease_timeout or float("inf"),
        )

    # -- what belongs to whom ----------------------------------------------------------------

    def scope(self) -> Scope:
        """The scope of the current owner, ended when that is done."""
        if self.owner not in self._scopes:
            name = getattr(self.owner, "argname", getattr(self.owner, "nodeid", "the run"))
            scope = Scope(str(name))
            scope.owner = None  # the run ends it itself: it is not a scope that someone forgot
            self._scopes[self.owner] = scope
        return self._scopes[self.owner]

    def share(
        self, name: str, make: Callable[[Scope], T], destroy: Callable[[T], object] | None
    ) -> T:
        """The value of that name, made once in this run."""
        self.state.stays = True
        if name not in self._shared:
            self._shared[name] = Shared(name, make, destroy, directory=self._meeting_place())
        value: T = self._shared[name].value
        return value

    def _meeting_place(self) -> Path:
        """Where the processes of this run meet."""
        given = getattr(self._config, "workerinput", {}).get("testrunuid", "")
        if not (given or self.state.run_id):
            self.state.run_id = uuid.uuid4().hex
        return self.state.state_dir / "own" / "once" / str(given or self.state.run_id)

    def _leave_shared_at_the_end(self) -> None:
        members = self._members
        try:
            # Who is stopped in the midst of it waits for nobody: they may be waiting for its end.
            if members is not None and self._shared and self.state.stays:
                wait_until(
                    lambda: (
                        members.others_are_done()
                        or not any(shared.is_last() for shared in self._shared.values())
                    ),
                    within=float("inf"),
                )
        finally:
            self._leave_shared()
            if members is not None:
                members.close()
                clear_run(self._meeting_place())

    def _leave_shared(self) -> None:
        while self._shared:
            _, shared = self._shared.popitem()
            shared.leave()

    # -- leaks -------------------------------------------------------------------------------

    def _end_of_attempt(self, item: pytest.Item) -> None:
        if self.named is not None:
            self.named.release()
            self.named = None
        self._end_of(item)
        if self._pid != os.getpid():  # an attempt in a child, which ends now
            self._leave_shared()
        self.look_for_leaks(item)
        if self._pid != os.getpid():
            inventory.close_if_empty()

    def _end_of(self, owner: object) -> None:
        """The owner is done: end what it owned, and what it opened and forgot."""
        lent = self._scopes.pop(owner, None)
        if lent is not None:
            self._close(lent)
        for scope in [scope for scope in watch().open if scope.owner is owner]:
            if not scope.house:
                detail = "was never closed" + (f"; it owned {scope.owned}" if scope.owned else "")
                self._leaks.append(Leak("scope", repr(scope.name), detail, scope.name))
                self._close(scope)

    def _close(self, scope: Scope) -> None:
        try:
            scope.close()
        except ExceptionGroup as error:
            # Raised here it would keep pytest from finishing the fixture.
            told = "; ".join(f"{type(one).__name__}: {one}" for one in error.exceptions)
            self._leaks.append(Leak("scope", repr(scope.name), f"failed to close: {told}", ""))

    def look_for_leaks(self, item: pytest.Item) -> None:
        """Fail the test by the names of what it leaked.

        :raises pytest.fail.Exception: when it leaked.
        """
        seen = watch()
        leaks = [leak for scope, leak in seen.leaks if not scope.house]
        seen.leaks.clear()
        leaks, self._leaks = [*self._leaks, *leaks], []
        for leak in leaks:
            emit(
                Violation(
                    rule="leak",
                    subject=f"{leak.kind} {leak.name}",
                    detail=leak.detail,
                    nodeid=item.nodeid,
                    worker=self.state.worker,
                    fails=True,
                )
            )
        if leaks:
            pytest.fail("leaked: " + "\n        ".join(map(str, leaks)), pytrace=False)
