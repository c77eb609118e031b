"""What is listed where a double differs from what it stands for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st

from windtunnel import laws
from windtunnel.core import Seed

SEED = Seed(3)


class Store:
    """Keeps texts by key, and raises for a key that is not there."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def __call__(self, given: tuple[str, str]) -> str:
        verb, key = given
        if verb == "put":
            self.texts[key] = key.upper()
        return self.texts[key]


class ForgivingStore(Store):
    def __call__(self, given: tuple[str, str]) -> str:
        return super().__call__(given) if given[0] == "put" else self.texts.get(given[1], "")


class AsyncStore(Store):
    async def __call__(self, given: tuple[str, str]) -> str:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().__call__(given)


class Stores(laws.Contract):
    __test__ = False
    subjects = {"real": Store, "good": AsyncStore, "forgiving": ForgivingStore}  # noqa: RUF012
    inputs = st.tuples(st.sampled_from(["put", "get"]), st.sampled_from("ab"))
    stateful = True
    general = ("failure_says_so",)

    def call(self, store: Any, given: Any) -> Any:
        return store(given)

    @laws.scenario
    def puts(store: Any) -> Any:  # type: ignore[misc]
        return store(("put", "a"))

    @laws.trigger(raises=KeyError)
    def gets_too_early(store: Any) -> Any:  # type: ignore[misc]
        return store(("get", "a"))


def test_a_double_that_is_like_the_real_one_has_no_differences():
    assert laws.differences(Stores, fake="good", real="real", seed=SEED) == []


def test_all_that_differs_is_listed_with_the_smallest_calls():
    found = laws.differences(Stores, fake="forgiving", real="real", seed=SEED)
    assert [one.what for one in found] == [
        "failure_says_so",
        "trigger-gets_too_early",
        "call(('get', 'a'))",
    ]
    assert found[0].real == "pass"
    assert "never seen: a call that failed" in found[0].fake
    assert str(found[2]) == (
        "call(('get', 'a'))\n  real: raised KeyError: 'a'\n  fake: returned ''"
    )


def test_ends_of_scenarios_and_triggers_are_compared_also_where_both_hold():
    class Loud(Store):
        def __call__(self, given: tuple[str, str]) -> str:
            return super().__call__(given) + "!"

    found = laws.differences(Stores, fake=Loud, real="real", seed=SEED)
    assert ("scenario-puts", "returned 'A!'") in [(one.what, one.fake) for one in found]


def test_a_difference_that_shows_after_an_earlier_call_is_told_with_it():
    class Once(Store):
        def __call__(self, given: tuple[str, str]) -> str:
            if given[0] == "put" and given[1] in self.texts:
                raise KeyError("again")
            return super().__call__(given)

    (one,) = laws.differences(Stores, fake=Once, real="real", seed=SEED)
    assert one.what == "call(('put', 'a')), then call(('put', 'a'))"


def test_whoever_is_no_subject_is_no_double():
    with pytest.raises(laws.ContractError, match="name one of real, good, forgiving"):
        laws.differences(Stores, fake="nobody", real="real")
    with pytest.raises(laws.ContractError, match="stands for another"):
        laws.differences(Stores, fake="real", real="real")
