"""A contract that declares all there is, of a subject that keeps to all of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

from hypothesis import strategies as st

from windtunnel import laws
from windtunnel.core import Seed
from windtunnel.laws import general


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a service answers: a total, and whose call it was."""

    total: int
    trace_id: str = ""


class Service:
    """Adds numbers up, one call at a time, after a while for long lists."""

    def __init__(self, limit: int, direct: bool = False) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self.limit = limit
        self.direct = direct
        self.counts = {"calls": 0, "succeeded": 0, "failed": 0}
        self.closed = False
        self._lock = asyncio.Lock()

    async def add(self, numbers: list[int], trace_id: str = "") -> Reply:
        async with self._lock:
            await asyncio.sleep(3600 if len(numbers) > 100 else 0)
            self.counts["calls"] += 1
            failed = not self.direct and any(abs(one) > self.limit for one in numbers)
            self.counts["failed" if failed else "succeeded"] += 1
        if failed:
            raise OverflowError(f"a number is above {self.limit} (trace {trace_id})")
        return Reply(sum(numbers), trace_id)

    async def close(self) -> None:
        self.closed = True


class Services(laws.Contract):
    __test__ = False
    subjects = {  # noqa: RUF012
        "real": Service,
        "double": Service,
        "careless": lambda limit: Service(limit, direct=True),
    }
    doubles = {"double": "real", "careless": "real"}  # noqa: RUF012
    configs = st.fixed_dictionaries({"limit": st.integers(5, 9)})
    invalid_configs = st.fixed_dictionaries({"limit": st.integers(-9, 0)})
    inputs = st.lists(st.integers(-12, 12), min_size=1, max_size=3)
    invalid_inputs = st.lists(st.integers(10, 99), min_size=1)
    slow_inputs = st.just([1] * 101)
    errors = (OverflowError, TimeoutError)
    repr_names = {"Reply": Reply}  # noqa: RUF012
    tolerance_s = 20.0
    examples = 10

    async def make(self, factory: Any, config: Any) -> Any:
        await asyncio.sleep(0)
        return factory(**config)

    async def call(self, service: Any, numbers: Any) -> Reply:
        return await service.add(numbers)

    async def call_within(self, service: Any, numbers: Any, timeout_s: float) -> Reply:
        async with asyncio.timeout(timeout_s):
            return await service.add(numbers)

    async def call_as(self, service: Any, numbers: Any, identifier: str) -> Reply:
        return await service.add(numbers, identifier)

    def identifiers(self, result: Any) -> list[str]:
        if isinstance(result, Reply):
            return [result.trace_id]
        return [str(result).partition("(trace ")[2].rstrip(")")]

    def stats(self, service: Any) -> dict[str, float]:
        return dict(service.counts)

    def state(self, service: Any) -> bool:
        return bool(service.closed)

    def progress(self, service: Any) -> Any:
        return dict(service.counts)

    def dump(self, value: Any) -> str:
        return json.dumps(dataclasses.asdict(value))

    def load(self, dumped: Any) -> Reply:
        return Reply(**json.loads(dumped))

    async def close(self, service: Any) -> None:
        await service.close()


def test_a_good_subject_passes_every_general_law_and_its_double_too():
    findings = list(laws.check(Services, subjects=["real", "double"], seed=Seed(1)))
    assert [(one.subject, one.law) for one in findings if one.verdict.value != "pass"] == []
    asked = {one.law for one in findings if one.subject == "double"}
    assert asked == {law.name for law in general.ALL}


def test_a_double_that_forgets_one_rule_fails_where_that_rule_shows():
    findings = laws.check(Services, subjects=["careless"], seed=Seed(1))
    assert {one.law for one in findings if one.verdict.value == "fail"} == {
        "failure_says_so",
        "stats_agree",
        "agrees_with_the_real_one",
    }
