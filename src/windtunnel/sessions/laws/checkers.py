"""The contract of capability checkers."""

# A law in a contract's body takes the subject, where a method takes itself.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread

from windtunnel import laws
from windtunnel.sessions.capabilities import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityToken,
)
from windtunnel.sessions.errors import CapabilityDenied
from windtunnel.sessions.protocol import CapabilityChecker

_PATTERNS = (
    ("/data/*", "/data/a", True),
    ("/data/*", "/data/a/b", False),
    ("/data/**", "/data/a/b", True),
    ("/data/*.csv", "/data/a.csv", True),
    ("/data/*.csv", "/data/a.txt", False),
    ("/data/**", "/data/../etc/passwd", False),
    ("/data/**", "/database/a", False),
    ("/data/**", "data/a", False),
    ("/data/**", "/data/..%2fetc/passwd", False),
    ("/data/a", "/data/./a", True),
)


class CheckerContract(laws.Contract):
    """What every capability checker keeps to. Set ``subjects``.

    >>> from windtunnel import laws, sessions
    >>> from windtunnel.sessions.laws import CheckerContract
    >>> class Checkers(CheckerContract):
    ...     subjects = [sessions.Capabilities, sessions.MockCapabilityManager]
    >>> {one.verdict.value for one in laws.check(Checkers, laws=["a_child_only_narrows"])}
    {'pass'}
    """

    asynchronous = True
    examples = 10

    def make(self, factory: Any, config: Any) -> CapabilityChecker:
        """A checker."""
        made: CapabilityChecker = factory()
        return made

    @laws.law
    async def is_a_checker(checker: CapabilityChecker) -> None:
        """It has the protocol's methods."""
        assert isinstance(checker, CapabilityChecker)

    @laws.law
    async def outside_a_scope_nothing_is_allowed(checker: CapabilityChecker) -> None:
        """Nothing is held before the first scope, nor after the last, however that ended."""
        assert not checker.allowed("fs.read", "/data/a")
        _must_deny(lambda: checker.use("fs.read", "/data/a"))
        try:
            with checker.scope(_root()):
                assert checker.allowed("fs.read", "/data/a")
                raise KeyError
        except KeyError:
            pass
        assert not checker.allowed("fs.read", "/data/a")

    @laws.law
    async def scopes_nest(checker: CapabilityChecker) -> None:
        """The inner one holds within it, the outer one after it."""
        with checker.scope(_root()):
            with checker.scope(CapabilityContext("empty")):
                assert not checker.allowed("fs.read", "/data/a")
            assert checker.allowed("fs.read", "/data/a")

    @laws.law
    async def patterns_match_normalised_paths(checker: CapabilityChecker) -> None:
        """A pattern matches what a path leads to, and not how it is written."""
        for pattern, resource, expected in _PATTERNS:
            with checker.scope(_root(resources=pattern)):
                seen = checker.allowed("fs.read", resource)
            assert seen is expected, f"{pattern} and {resource}: {seen}"

    @laws.law
    async def asking_uses_nothing_up(checker: CapabilityChecker) -> None:
        """``allowed`` leaves uses and violations as they were."""
        root = _root(uses=1)
        with checker.scope(root):
            for _ in range(3):
                assert checker.allowed("fs.read", "/data/a")
            assert not checker.allowed("fs.write", "/data/a")
            assert root.violations == []
            checker.use("fs.read", "/data/a")
            assert not checker.allowed("fs.read", "/data/a")

    @laws.law
    async def a_refusal_is_raised_and_on_record(checker: CapabilityChecker) -> None:
        """The error and the violation say what was wanted."""
        root = _root(resources="/data/**", operations=("read",))
        with checker.scope(root):
            checker.use("fs.read", "/data/a", operation="read")
            error = _must_deny(lambda: checker.use("fs.read", "/data/a", operation="write"))
        assert (error.capability, error.resource, error.operation) == (
            "fs.read",
            "/data/a",
            "write",
        )
        (violation,) = root.violations
        assert (violation.capability, violation.operation) == ("fs.read", "write")
        assert violation.reason

    @laws.law
    async def uses_are_counted_exactly_under_threads(checker: CapabilityChecker) -> None:
        """Of more users than uses, as many as there are uses get one."""
        uses, granted = 20, list[bool]()
        root = _root(uses=uses)
        work = (checker, root, uses // 2, granted)
        threads = [threading.Thread(target=_use_often, args=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(granted) == uses, f"{len(granted)} of {uses} uses were had"

    @laws.law
    async def a_child_only_narrows(checker: CapabilityChecker) -> None:
        """A child holds what it was given of its parent's, and cannot be given more."""
        with checker.scope(_root(resources="/data/**")):
            less = CapabilityToken("fs.read", CapabilityConstraint(resources=("/data/a",)))
            with checker.scope(checker.child("child", [less])):
                assert checker.allowed("fs.read", "/data/a")
                assert not checker.allowed("fs.read", "/data/b")
            more = CapabilityToken("fs.read", CapabilityConstraint(resources=("/**",)))
            _must_deny(lambda: checker.child("greedy", [more]))

    @laws.law
    async def what_is_taken_back_is_gone_below_too(checker: CapabilityChecker) -> None:
        """A revoked token is dead wherever it was handed on to."""
        with checker.scope(_root()):
            child = checker.child("child")
            checker.revoke("fs.read")
            assert not checker.allowed("fs.read", "/data/a")
            with checker.scope(child):
                assert not checker.allowed("fs.read", "/data/a")

    @laws.law
    async def a_scope_goes_along_with_the_work(checker: CapabilityChecker) -> None:
        """Tasks and worker threads that are started in a scope are in it; others are not."""
        seen: dict[str, bool] = {}

        async def task(name: str) -> None:
            await anyio.lowlevel.checkpoint()
            seen[name] = checker.allowed("fs.read", "/data/a")

        async with anyio.create_task_group() as outer:
            outer.start_soon(task, "beside")
            with checker.scope(_root()):
                async with anyio.create_task_group() as inner:
                    inner.start_soon(task, "within")
                seen["thread"] = await anyio.to_thread.run_sync(
                    checker.allowed, "fs.read", "/data/a"
                )
        assert seen == {"beside": False, "within": True, "thread": True}, seen


def _use_often(
    checker: CapabilityChecker, root: CapabilityContext, times: int, granted: list[bool]
) -> None:
    with checker.scope(root):
        for _ in range(times):
            with contextlib.suppress(CapabilityDenied):
                checker.use("fs.read", "/data/a")
                granted.append(True)


def _root(**bounds: Any) -> CapabilityContext:
    root = CapabilityContext("root")
    root.grant("fs.read", **bounds)
    return root


def _must_deny(use: Callable[[], Any]) -> CapabilityDenied:
    try:
        value = use()
    except CapabilityDenied as denied:
        return denied
    raise AssertionError(f"expected CapabilityDenied, and it gave {value!r}")


__all__ = ["CheckerContract"]
