"""MockCapabilityManager: contexts that a test sets, refusals it orders, violations it reads."""

from __future__ import annotations

import anyio
import pytest

from windtunnel.core.errors import UsageError
from windtunnel.sessions import (
    CapabilityChecker,
    CapabilityConstraint,
    CapabilityContext,
    CapabilityDenied,
    CapabilityToken,
    MockCapabilityManager,
    MockCapabilityViolation,
    current_context,
)


def context(name: str = "test", **bounds: object) -> CapabilityContext:
    made = CapabilityContext(name)
    made.grant("file", **bounds)
    return made


def test_it_is_a_capability_checker():
    assert isinstance(MockCapabilityManager(), CapabilityChecker)


def test_contexts_are_set_and_got_and_cleared():
    manager = MockCapabilityManager()
    assert manager.get_context() is None
    one, two = context("one"), context("two")
    manager.set_context(one)
    manager.set_context(two)
    assert manager.get_context() is manager.current_context is two
    assert manager.get_context("one") is one
    assert manager.get_context("three") is None
    assert manager.contexts == [one, two]
    manager.clear_context()
    assert manager.current_context is None
    assert not manager.has_capability("file")
    with pytest.raises(UsageError):
        manager.set_context("two")  # type: ignore[arg-type]


def test_a_scope_is_current_for_its_block_and_for_guarded_functions():
    manager = MockCapabilityManager()
    outer, inner = context("outer"), context("inner")
    manager.set_context(outer)
    with manager.scope(inner) as entered:
        assert entered is manager.current_context is inner
        assert current_context() is inner
    assert manager.current_context is outer
    assert manager.contexts == [outer, inner]
    other = MockCapabilityManager()
    with manager.scope(inner):
        assert other.current_context is None


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("/data/a.csv", True),
        ("/data/*", True),
        ("/etc/*", False),
        ("/data/../etc/passwd", False),
        ("/data/a/b", False),
    ],
)
def test_patterns_match_as_the_real_ones_do(resource, expected):
    manager = MockCapabilityManager()
    manager.set_context(context(resources="/data/*"))
    assert manager.has_capability("file", resource) is expected
    assert manager.allowed("file", resource) is expected
    assert not manager.has_capability("network", resource)


def test_an_operation_that_is_not_named_may_be_any():
    manager = MockCapabilityManager()
    manager.set_context(context(operations=("read", "list")))
    assert manager.has_capability("file")
    assert manager.has_capability("file", "/a")
    assert manager.has_capability("file", "/a", operation="list")
    assert not manager.has_capability("file", "/a", operation="write")
    assert not manager.allowed("file", "/a", operation="write")


def test_granting_needs_no_context_of_ones_own():
    manager = MockCapabilityManager()
    token = manager.grant("file", resources="/data/**", uses=1)
    assert isinstance(token, CapabilityToken)
    assert manager.current_context is not None
    assert manager.current_context.name == "mock"
    manager.use("file", "/data/a")
    with pytest.raises(CapabilityDenied, match="used up"):
        manager.use("file", "/data/a")


def test_a_refusal_is_raised_and_becomes_a_violation():
    manager = MockCapabilityManager()
    manager.set_context(context(resources="/data/**"))
    with pytest.raises(CapabilityDenied):
        manager.use("file", "/etc/passwd", operation="read")
    (violation,) = manager.violations
    assert isinstance(violation, MockCapabilityViolation)
    assert (violation.capability, violation.capability_type) == ("file", "file")
    assert (violation.resource, violation.pattern) == ("/etc/passwd", "/etc/passwd")
    assert (violation.operation, violation.context) == ("read", "test")
    assert "/etc/passwd matches none of /data/**" in violation.reason
    assert violation.timestamp > 1_600_000_000
    with pytest.raises(CapabilityDenied):
        MockCapabilityManager().use("file")


def test_violations_may_be_recorded_by_the_program_under_test():
    manager = MockCapabilityManager()
    manager.record_violation("file", "/etc/passwd", "read")
    manager.record_violation("network", "api.example.com", "http", reason="not listed")
    assert manager.get_violation_count() == 2
    assert manager.get_violation_count("file") == 1
    assert [one.reason for one in manager.violations] == ["", "not listed"]


def test_refusals_may_be_ordered_whatever_is_held():
    manager = MockCapabilityManager()
    manager.grant("file")
    manager.deny("file", "/etc/**")
    assert manager.allowed("file", "/data/a")
    assert not manager.allowed("file", "/etc/passwd")
    assert not manager.has_capability("file", "/data/../etc/passwd")
    manager.deny("file")
    assert not manager.has_capability("file")
    manager.reset()
    manager.grant("file")
    manager.should_fail = True
    assert not manager.allowed("file")
    with pytest.raises(CapabilityDenied, match="the double was told to fail"):
        manager.use("file")


def test_a_child_narrows_and_what_is_revoked_is_gone():
    manager = MockCapabilityManager()
    manager.grant("file", resources="/data/**")
    less = CapabilityToken("file", CapabilityConstraint(resources=("/data/a",)))
    child = manager.child("child", [less])
    assert child.parent_context is manager.current_context
    with pytest.raises(CapabilityDenied):
        manager.child("greedy", [CapabilityToken("file")])
    manager.revoke("file")
    assert not manager.has_capability("file", "/data/a")


def test_reset_forgets_everything():
    manager = MockCapabilityManager(should_fail=True)
    manager.set_context(context())
    manager.record_violation("file")
    manager.deny("file")
    manager.reset()
    assert (manager.contexts, manager.violations, manager.current_context) == ([], [], None)
    manager.set_context(context())
    assert manager.has_capability("file")
    assert repr(manager) == "<MockCapabilityManager current=test, 1 contexts, 0 violations>"


@pytest.mark.anyio
async def test_tasks_do_not_see_one_anothers_scopes():
    manager, seen = MockCapabilityManager(), {}

    async def work(name: str) -> None:
        with manager.scope(context(name)):
            await anyio.sleep(0)
            current = manager.current_context
            seen[name] = current.name if current else None

    async with anyio.create_task_group() as group:
        for name in ("a", "b", "c"):
            group.start_soon(work, name)
    assert seen == {"a": "a", "b": "b", "c": "c"}
