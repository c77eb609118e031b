"""Operations, sizes, memory, CPU, uses and expiry of tokens."""

from __future__ import annotations

import math

import pytest

from windtunnel.core import UsageError
from windtunnel.sessions import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityDenied,
    CapabilityToken,
    Limits,
)


class HandClock:
    """A clock that a test moves by hand."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def context(clock) -> CapabilityContext:
    return CapabilityContext("root", clock=clock)


def refused(context: CapabilityContext, *wish: object, **more: object) -> str:
    with pytest.raises(CapabilityDenied) as caught:
        context.use(*wish, **more)  # type: ignore[arg-type]
    return caught.value.reason


def test_only_named_operations_are_allowed(context):
    context.grant("fs", operations=("read", "list"))
    context.use("fs", operation="read")
    assert "write" in refused(context, "fs", operation="write")
    assert "no operation" in refused(context, "fs")
    refused(context, "fs", operation="Read")


def test_a_type_is_compared_exactly(context):
    context.grant("fs.read")
    for other in ("fs", "fs.", "fs.read.all", "FS.read", "fs.read ", "fs.*", ""):
        refused(context, other)


def test_bytes_are_bounded_at_a_time_and_in_all(context):
    token = context.grant("net.send", max_bytes=100, total_bytes=250)
    context.use("net.send", size=100)
    context.use("net.send", size=100)
    assert "101 bytes" in refused(context, "net.send", size=101)
    assert "50 left" in refused(context, "net.send", size=51)
    context.use("net.send", size=50)
    context.use("net.send", size=0)
    refused(context, "net.send", size=1)
    assert token.uses == 4


@pytest.mark.parametrize("size", [-1, -(10**9), math.nan, 1.5, True, "10", None])
def test_a_size_that_is_none_uses_nothing(context, size):
    token = context.grant("net.send", total_bytes=10)
    assert not context.allowed("net.send", size=size)
    assert "no number of bytes" in refused(context, "net.send", size=size)
    assert token.uses == 0
    context.use("net.send", size=10)


@pytest.mark.parametrize("memory", [-1.0, math.nan, "64", None])
def test_memory_that_is_no_number_is_refused(context, memory):
    context.grant("gpu", memory_mb=64)
    refused(context, "gpu", memory_mb=memory)


def test_memory_is_bounded_at_a_time(context):
    context.grant("gpu", memory_mb=64)
    context.use("gpu", memory_mb=64)
    assert "65 MiB" in refused(context, "gpu", memory_mb=65)


def test_cpu_that_was_taken_counts_against_the_token_and_those_above_it(context):
    token = context.grant("render", cpu_s=1.0)
    child = context.child("guest", [token.narrow(cpu_s=0.5)])
    use = child.take("render")
    use.charge(cpu_s=0.4)
    child.take("render").charge(cpu_s=0.2)
    assert "CPU" in refused(child, "render")
    context.take("render").charge(cpu_s=0.5)
    assert "CPU" in refused(context, "render")


def test_code_gets_the_lower_of_its_limits_and_what_the_token_leaves(context):
    context.grant("execute", memory_mb=64.9, cpu_s=2)
    asked = Limits(timeout_s=10, memory_mb=256, recursion=7, output_bytes=8)
    limits, use = context.execution(asked)
    assert limits == Limits(timeout_s=2, memory_mb=64, recursion=7, output_bytes=8)
    use.charge(cpu_s=1.5)
    assert context.execution(asked)[0].timeout_s == 0.5
    small = Limits(timeout_s=0.1, memory_mb=32)
    assert context.execution(small)[0] == small
    assert context.execution(Limits(timeout_s=None, memory_mb=None))[0].memory_mb == 64
    assert CapabilityContext("free").execution(asked) == (asked, None)


def test_an_execution_is_a_use_and_none_is_without_bounds_when_they_are_used_up(context):
    context.grant("execute", uses=2, memory_mb=64)
    context.execution(Limits())
    # What bounds is no permission: who inherits nothing is bounded all the same.
    context.child("guest", inherit=False).execution(Limits())
    for one in (context, context.child("a"), context.child("b", inherit=False)):
        with pytest.raises(CapabilityDenied, match="used up"):
            one.execution(Limits())


def test_uses_are_counted_and_end(context):
    token = context.grant("mail", uses=2)
    context.use("mail")
    assert context.allowed("mail")
    assert context.allowed("mail")
    context.use("mail")
    assert not context.allowed("mail")
    assert not context.has_capability("mail")
    assert "used up" in refused(context, "mail")
    assert token.uses == 2


def test_a_refused_use_is_not_counted(context):
    token = context.grant("fs", resources="/safe/**", uses=1)
    for _ in range(5):
        refused(context, "fs", "/etc")
    assert token.uses == 0
    context.use("fs", "/safe/x")


def test_a_use_that_an_ancestor_refuses_counts_nowhere(context):
    token = context.grant("mail", uses=1)
    child_token = token.narrow()
    child = context.child("guest", [child_token])
    context.use("mail")
    refused(child, "mail")
    assert (token.uses, child_token.uses) == (1, 0)


def test_no_uses_and_no_bytes_are_bounds_too(context):
    context.grant("mail", uses=0)
    context.grant("render", cpu_s=0)
    refused(context, "mail")
    refused(context, "render")


def test_a_token_ends_when_the_clock_says_so(context, clock):
    context.grant("mail", expires_in_s=10)
    clock.now = 1_009.999
    context.use("mail")
    clock.now = 1_010.0
    assert not context.allowed("mail")
    assert "expired" in refused(context, "mail")


def test_a_clock_that_is_set_back_brings_no_token_back(context, clock):
    context.grant("mail", expires_at=1_010.0)
    clock.now = 1_011.0
    assert not context.allowed("mail")
    clock.now = 1_000.0
    assert "expired" in refused(context, "mail")


def test_a_child_reads_the_clock_of_its_parent(context, clock):
    child = context.child("guest", [context.grant("mail", expires_in_s=10).narrow()])
    child.use("mail")
    clock.now += 10
    refused(child, "mail")


def test_a_child_has_no_clock_of_its_own_by_which_what_has_expired_would_come_back(context):
    with pytest.raises(UsageError, match="clock of the one above"):
        CapabilityContext("guest", context, clock=HandClock(0.0))
    assert CapabilityContext("guest", context, clock=context.clock).clock is context.clock


@pytest.mark.parametrize(
    "bounds",
    [
        {"uses": -1}, {"uses": 1.5}, {"uses": True}, {"uses": "3"}, {"max_bytes": -1},
        {"total_bytes": 0.5}, {"memory_mb": math.nan}, {"memory_mb": -1}, {"cpu_s": math.inf},
        {"expires_at": math.nan}, {"expires_at": "tomorrow"}, {"operations": ("",)},
        {"operations": (1,)}, {"resources": (None,)}, {"hosts": (b"x",)},
    ],
)  # fmt: skip
def test_a_bound_that_cannot_be_meant_is_an_error(bounds):
    with pytest.raises(UsageError):
        CapabilityConstraint(**bounds)


@pytest.mark.parametrize("type", ["", None, 7, "a\nb", "\0"])
def test_a_type_is_a_text(type):
    with pytest.raises(UsageError):
        CapabilityToken(type)


def test_of_several_constraints_all_hold(context):
    context.add_capability(
        CapabilityToken(
            "fs",
            [
                CapabilityConstraint(resources="/safe/**", uses=2),
                CapabilityConstraint(resources="/**/*.csv", uses=1),
            ],
        )
    )
    refused(context, "fs", "/safe/a.txt")
    refused(context, "fs", "/other/a.csv")
    context.use("fs", "/safe/a.csv")
    assert "1 of 1" in refused(context, "fs", "/safe/a.csv")


def test_a_constraint_shows_what_it_sets_and_equals_its_like():
    bounds = CapabilityConstraint(resources=["/a/**"], ports=443, uses=3)
    assert repr(bounds) == "CapabilityConstraint(resources=('/a/**',), ports=((443, 443),), uses=3)"
    assert eval(repr(bounds)) == bounds
    assert hash(bounds) == hash(eval(repr(bounds)))


def test_both_ways_to_say_when_it_ends_at_once_are_an_error(context):
    with pytest.raises(UsageError, match="give one"):
        context.grant("mail", expires_in_s=1, expires_at=2)
