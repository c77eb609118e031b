"""What a contract declares: who is put to it, how one is made, which laws it has."""

from __future__ import annotations

import asyncio
import sys
import types
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from windtunnel import laws
from windtunnel.core import Seed, UsageError
from windtunnel.laws.entries import entries
from windtunnel.laws.subjects import found


def verdicts(contract: type[laws.Contract], *names: str) -> dict[str, str]:
    chosen = names or None
    return {
        f"{one.subject}/{one.law}": one.verdict.value
        for one in laws.check(contract, laws=chosen, seed=Seed(1))
    }


# -- subjects -------------------------------------------------------------------------------------


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("shapes_of_the_test")
    vars(module).update(BY_NAME={"square": list, "round": dict}, listed=lambda: [list, set])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def names(subjects: Any) -> list[str]:
    return [one.name for one in found(subjects)]


@pytest.mark.usefixtures("shapes")
def test_subjects_are_a_list_a_mapping_a_registry_or_a_place():
    assert names([list, dict]) == ["list", "dict"]
    assert names({"a": list, "b": list}) == ["a", "b"]
    assert names(laws.registry("shapes_of_the_test:BY_NAME")) == ["square", "round"]
    assert names("shapes_of_the_test:listed") == ["list", "set"]
    assert names(["collections:OrderedDict"]) == ["OrderedDict"]


def test_a_registry_is_read_when_it_is_needed(shapes: types.ModuleType):
    source = laws.registry("shapes_of_the_test:BY_NAME")
    shapes.BY_NAME["late"] = set
    assert names(source) == ["square", "round", "late"]


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Round(Shape):
    """Abstract still."""


class Circle(Round):
    def area(self) -> float:
        return 3.1


class Square(Shape):
    def area(self) -> float:
        return 1.0


class Slanted(Square):
    pass


def test_subclasses_are_those_that_can_be_made():
    assert names(laws.subclasses(Shape)) == ["Circle", "Slanted"]
    assert names(laws.subclasses(Shape, inner=True)) == ["Square", "Circle", "Slanted"]


def test_entry_points_are_those_of_installed_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    installed = tmp_path / "shapes-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: shapes\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[of.shapes]\nround = collections:deque\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (one,) = found(laws.entry_points("of.shapes"))
    assert (one.name, one.factory) == ("round", deque)


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        ([], "a contract has no subjects"),
        ([list, list], "two subjects of a contract have one name"),
        (laws.registry("no_such_module:x"), "No module named 'no_such_module'"),
        (laws.registry("json"), "a place is module:attribute"),
        ([3], "a subject cannot be made"),
    ],
)
def test_subjects_that_cannot_be_had_are_told(subjects: Any, message: str):
    with pytest.raises(laws.ContractError, match=message):
        found(subjects)


def test_names_are_made_fit_for_ids():
    assert names({"a::b [c] /d": list}) == ["a-b-c-d"]


# -- making and calling ---------------------------------------------------------------------------


def test_a_configuration_is_drawn_and_becomes_keyword_arguments():
    seen = set()

    class Boxes(laws.Contract):
        __test__ = False
        subjects = {"dict": dict}  # noqa: RUF012
        configs = st.fixed_dictionaries({"size": st.integers(1, 3)})

        @laws.law
        def holds_its_size(box, draw):
            seen.add(box["size"])
            assert draw.case.config == box

    assert verdicts(Boxes) == {"dict/holds_its_size": "pass"}
    assert seen == {1, 2, 3}


def test_everything_may_be_asynchronous_and_laws_of_both_kinds_run_in_one_loop():
    class Loops(laws.Contract):
        __test__ = False
        subjects = {"it": asyncio.Event}  # noqa: RUF012
        inputs = st.booleans()

        async def make(self, factory, config):
            await asyncio.sleep(0)
            made = factory()
            made.loop = asyncio.get_running_loop()
            return made

        async def call(self, event, given):
            await asyncio.sleep(0)
            if given:
                event.set()
            return event.is_set()

        async def close(self, event):
            await asyncio.sleep(0)
            event.clear()

        @laws.law
        def plain(self, event, draw):
            assert event.loop is asyncio.get_running_loop()

        @laws.law
        async def waits(self, event, draw):
            event.set()
            assert await event.wait()

        @laws.scenario
        async def is_set(self, event):
            event.set()
            return await event.wait()

    asked = ("plain", "waits", "scenario-is_set", "close_is_idempotent", "nothing_leaks")
    assert set(verdicts(Loops, *asked).values()) == {"pass"}


def test_what_only_turns_out_to_be_asynchronous_gets_its_loop():
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    contract = laws.contract(
        subjects={"it": lambda: double}, inputs=st.integers(), call=lambda it, given: it(given)
    )
    assert verdicts(contract, "same_input_same_output") == {"it/same_input_same_output": "pass"}


def test_a_contract_may_be_run_on_trio():
    trio = pytest.importorskip("trio")

    class Limited:
        def __init__(self, keeps: bool) -> None:
            self.keeps = keeps
            self.limit = trio.CapacityLimiter(1)
            self.before = 0

        async def __call__(self, given: int) -> int:
            await self.limit.acquire()
            try:
                before = self.before
                await trio.sleep(0)
                self.before = before + 1
                return given
            except trio.Cancelled:
                if self.keeps:
                    self.keeps, self.limit = False, trio.CapacityLimiter(0)
                raise
            finally:
                if self.limit.borrowed_tokens:
                    self.limit.release()

    def contract(keeps: bool, tolerance_s: float) -> type[laws.Contract]:
        return laws.contract(
            subjects={"it": lambda: Limited(keeps)},
            inputs=st.integers(0, 1),
            call=lambda it, given: it(given),
            state=lambda it: it.before,
            backend="trio",
            asynchronous=True,
            tolerance_s=tolerance_s,
        )

    cancelled, at_once = "cancellation_leaves_it_usable", "concurrent_calls_equal_a_serial_order"
    assert verdicts(contract(False, 20), cancelled) == {f"it/{cancelled}": "pass"}
    assert verdicts(contract(True, 0.2), cancelled) == {f"it/{cancelled}": "fail"}
    assert verdicts(contract(False, 20), at_once) == {f"it/{at_once}": "pass"}


def test_scenarios_must_succeed_and_triggers_must_fail_as_they_say():
    class Parsing(laws.Contract):
        __test__ = False
        subjects = {"int": lambda: int, "lenient": lambda: lambda text: 0}  # noqa: RUF012
        scenarios = {"a number": "1"}  # noqa: RUF012
        triggers = {"a word": "x"}  # noqa: RUF012

        def call(self, parse, text):
            return parse(text)

        @laws.scenario
        def zero(parse):
            assert parse("0") == 0
            return 0

        @laws.trigger(raises=ValueError, match="invalid literal")
        def nothing(parse):
            return parse("")

        @laws.trigger(raises=TypeError)
        def a_list(parse):
            return parse([])

    assert verdicts(Parsing) == {
        "int/scenario-zero": "pass",
        "int/trigger-nothing": "pass",
        "int/trigger-a_list": "pass",
        "int/scenario-a number": "pass",
        "int/trigger-a word": "pass",
        "lenient/scenario-zero": "pass",
        "lenient/trigger-nothing": "fail",
        "lenient/trigger-a_list": "fail",
        "lenient/scenario-a number": "pass",
        "lenient/trigger-a word": "fail",
    }


# -- which laws -----------------------------------------------------------------------------------


def test_what_cannot_be_tested_with_one_input_is_tested_with_the_others():
    def law(subject, draw):
        if draw(st.booleans()):
            raise laws.NothingToTest("it is not for that")
        assert subject != []

    def nothing(subject, draw):
        raise laws.NothingToTest("it is not for anything")

    contract = laws.contract(subjects=[list], more_laws=[law, nothing])
    one, other = laws.check(contract, seed=Seed(1))
    assert one.verdict.value == "fail"
    assert (other.verdict.value, other.reason) == ("unknown", "it is not for anything")


class Queues(laws.Contract):
    __test__ = False

    @laws.law
    def is_fifo(queue, draw):
        queue.append(1)
        queue.append(2)
        assert queue[0] == 1

    @laws.law
    def is_empty_at_first(queue, draw):
        assert not queue


def titles(contract: type[laws.Contract]) -> list[str]:
    return [one.title for one in entries(contract).values() if not one.missing]


def test_laws_are_inherited_and_one_that_is_replaced_says_so():
    class Ours(Queues):
        __test__ = False

        @laws.law
        def is_fifo(queue, draw):
            assert queue is not None

        @laws.law
        def nothing_leaks(queue, draw):
            assert queue is not None

    assert titles(Ours) == [
        "nothing_leaks-overridden-by-Ours",
        "is_fifo-overridden-by-Ours",
        "is_empty_at_first",
    ]


def test_a_law_that_is_left_out_is_still_there_with_its_reason():
    class Ours(Queues):
        __test__ = False
        without = {"is_fifo": "ours is a stack"}  # noqa: RUF012
        is_empty_at_first = None

    assert titles(Ours) == ["is_fifo-left-out-by-Ours", "is_empty_at_first-left-out-by-Ours"]
    every = entries(Ours)
    assert every["is_fifo"].reason == "ours is a stack"
    assert every["is_empty_at_first"].reason == ""

    class Lists(Ours):
        __test__ = False
        subjects = [list]  # noqa: RUF012
        without = {"nothing_leaks": "it owns nothing"}  # noqa: RUF012

    assert [(one.verdict.value, one.reason) for one in laws.check(Lists)] == [
        ("unknown", "left out by Ours: ours is a stack"),
        ("fail", "left out by Ours: no reason is given"),
    ]


def test_general_laws_that_a_base_asks_cannot_be_dropped_in_silence():
    class Base(laws.Contract):
        __test__ = False
        inputs = st.integers()
        general = ("failure_says_so", "same_input_same_output")

        def call(self, subject, given):
            return given

    class Ours(Base):
        __test__ = False
        general = ("failure_says_so",)

    assert titles(Base) == ["same_input_same_output", "failure_says_so"]
    assert titles(Ours) == ["same_input_same_output-left-out-by-Ours", "failure_says_so"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"general": ("no_such",)}, "names no general law"),
        ({"general": ("stats_agree",)}, "it does not declare stats"),
        ({"without": {"no_such": "x"}}, "without names no law"),
        ({"without": {"nothing_leaks": ""}}, "without a reason"),
        ({"more_laws": [len, len]}, "two laws of ContractCalled have one name"),
    ],
)
def test_laws_that_are_not_there_cannot_be_asked_or_left_out(declared: Any, message: str):
    with pytest.raises(laws.ContractError, match=message):
        entries(laws.contract(subjects=[list], **declared))


def test_members_that_a_contract_has_not_are_told_with_the_nearest():
    with pytest.raises(laws.ContractError, match="write subjects"):
        laws.contract(subject=[list])
    with pytest.raises(laws.ContractError, match="write more_laws"):
        type("Mine", (laws.Contract,), {"laws": []})


def test_fixtures_of_make_are_given_to_check_outside_pytest():
    class Filled(laws.Contract):
        __test__ = False
        subjects = [list]  # noqa: RUF012

        def make(self, factory, config, *, content):
            return factory(content)

        @laws.law
        def is_filled(subject):
            assert subject == [1, 2]

    (one,) = laws.check(Filled, fixtures={"content": (1, 2)})
    assert one.verdict.value == "pass"


def test_inside_a_running_loop_asynchronous_subjects_are_refused_in_plain_words():
    async def law(subject, draw):
        await asyncio.sleep(0)
        assert subject == []

    async def inside() -> None:
        list(laws.check(laws.contract(subjects=[list], more_laws=[law])))

    with pytest.raises(UsageError, match="inside a running event loop"):
        asyncio.run(inside())


def test_a_law_takes_a_subject_and_a_draw_and_nothing_else():
    def takes_too_much(subject, draw, more):
        assert subject

    contract = laws.contract(subjects=[list], more_laws=[takes_too_much])
    with pytest.raises(laws.ContractError, match=r"it takes \(subject, draw, more\)"):
        verdicts(contract)


def test_the_same_seed_draws_the_same_examples():
    def drawn(seed: int) -> list[int]:
        numbers: list[int] = []

        def remembers_what_it_drew(subject, draw):
            numbers.append(draw(st.integers()))
            assert subject == []

        contract = laws.contract(subjects=[list], more_laws=[remembers_what_it_drew])
        assert [one.verdict.value for one in laws.check(contract, seed=Seed(seed))] == ["pass"]
        return numbers

    assert drawn(1) == drawn(1) != drawn(2)


def test_without_hypothesis_laws_that_draw_nothing_still_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)

    def draws_nothing(subject, draw):
        assert subject == []

    def draws(subject, draw):
        assert draw(st.integers()) is not None

    contract = laws.contract(subjects=[list], more_laws=[draws_nothing, draws])
    one, other = laws.check(contract)
    assert one.verdict.value == "pass"
    assert "pip install 'windtunnel[laws]'" in other.reason
