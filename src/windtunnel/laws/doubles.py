"""How a double differs from what it stands for: all of it, each with the smallest input."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

from windtunnel.core.seed import Seed
from windtunnel.laws.base import Contract
from windtunnel.laws.book import general_law
from windtunnel.laws.case import Completion
from windtunnel.laws.entries import Entry
from windtunnel.laws.errors import ContractError
from windtunnel.laws.examples import Draw
from windtunnel.laws.general.doubling import both
from windtunnel.laws.reading import Reading, read
from windtunnel.laws.running import Finding, Trial, judged
from windtunnel.laws.subjects import Factory, Subject
from windtunnel.laws.values import alike, shown

_MOST = 20
_Shape: TypeAlias = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a double is not like the real one.

    :param what: the law that holds for one of them alone, or the call that ends otherwise.
    :param fake: what the double came to.
    :param real: what the real one came to.
    """

    what: str
    fake: str
    real: str

    def __str__(self) -> str:
        return f"{self.what}\n  real: {self.real}\n  fake: {self.fake}"


def differences(
    contract: type[Contract],
    *,
    fake: str | Factory,
    real: str | Factory,
    seed: Seed | None = None,
) -> list[Difference]:
    """Put a double and the real one to the same contract, and list how they differ.

    Both are put to every law, scenario and trigger; then the same calls are made of both. Calls
    that differ in one way (one returns and the other raises ``ValueError``, say) are one
    difference, shown by the smallest input that shows it.

    :param fake: the double: a subject of the contract by name, or a factory.
    :param real: what it stands for, likewise.
    :param seed: what examples are drawn from; the run's by default.
    :returns: nothing for a double that is proved.
    :raises ContractError: where the contract cannot be read, or has no such subject.

    >>> from hypothesis import strategies as st
    >>> from windtunnel import laws
    >>> Parsing = laws.contract(
    ...     "Parsing",
    ...     subjects={"int": lambda: int, "fake": lambda: lambda text: 0},
    ...     inputs=st.sampled_from(["0", "1", "x"]),
    ...     call=lambda parse, text: parse(text),
    ...     general=["agrees_with_the_real_one"],
    ...     doubles={"fake": "int"},
    ... )
    >>> for one in laws.differences(Parsing, fake="fake", real="int"):
    ...     print(one)
    call('1')
      real: returned 1
      fake: returned 0
    call('x')
      real: raised ValueError: invalid literal for int() with base 10: 'x'
      fake: returned 0
    """
    reading = _cast(contract, fake, real)
    double = next(one for one in reading.subjects if one.role == "fake")
    genuine = next(one for one in reading.subjects if one.role == "real")
    found = _by_laws(reading, double, genuine, seed)
    return found + _by_calls(reading, double, seed)


def _cast(contract: type[Contract], fake: str | Factory, real: str | Factory) -> Reading:
    """The contract with these two subjects alone, in their roles."""
    plain = read(contract)

    def factory(one: str | Factory) -> tuple[str, Factory]:
        if isinstance(one, str):
            return one, plain.subject(one).factory
        return getattr(one, "__name__", type(one).__name__), one

    (fake_name, make_fake), (real_name, make_real) = factory(fake), factory(real)
    if fake_name == real_name:
        raise ContractError("a double stands for another", found=f"{fake_name!r} twice")
    subjects = (
        Subject(real_name, make_real, "real"),
        Subject(fake_name, make_fake, "fake", real_name),
    )
    return dataclasses.replace(plain, subjects=subjects)


def _by_laws(reading: Reading, fake: Subject, real: Subject, seed: Seed | None) -> list[Difference]:
    found: list[Difference] = []
    for entry in reading.asked(real):
        if not entry.runs or entry.law.role:
            continue
        trials = [Trial(reading, who, entry, seed=seed) for who in (fake, real)]
        one, other = map(judged, trials)
        if one.verdict is not other.verdict:
            found.append(Difference(entry.title, _told(one), _told(other)))
        ends = [trial.ended for trial in trials if trial.examples == 1]  # they drew nothing
        if len(ends) == 2 and ends[0] and ends[1] and not alike(ends[0].view, ends[1].view):
            found.append(Difference(entry.title, shown(ends[0]), shown(ends[1])))
    return found


def _told(finding: Finding) -> str:
    lines = [line.strip() for line in finding.reason.splitlines()]
    found = [line for line in lines if not line.startswith(("to fix:", "expected:"))]
    return "; ".join([finding.verdict.value, *found])


class _FoundError(AssertionError):
    """An input for which both differ in the way that is looked for."""


def _by_calls(reading: Reading, fake: Subject, seed: Seed | None) -> list[Difference]:
    contract = reading.contract
    declared = contract.inputs is not None or contract.invalid_inputs is not None
    if not declared or not contract.declares("call"):
        return []
    found: list[Difference] = []
    known: set[_Shape] = set()
    while len(found) < _MOST:
        one = _next(reading, fake, known, seed)
        if one is None:
            break
        found.append(one)
    return sorted(found, key=lambda one: (len(one.what), one.what))  # whatever the seed


def _next(
    reading: Reading, fake: Subject, known: set[_Shape], seed: Seed | None
) -> Difference | None:
    """Another difference, of a shape that is not known yet, by the smallest calls."""
    last: list[tuple[_Shape, Difference]] = []
    sought: list[_Shape] = []

    @general_law(needs=(), role="fake")
    async def differs_in_another_way(subject: Any, draw: Draw) -> None:
        inputs = draw.inputs(2)
        for number, (one, other) in enumerate(await both(subject, inputs, draw)):
            shape = _shape(one), _shape(other)
            if alike(one.view, other.view) or shape in known:
                continue
            if sought and shape != sought[0]:
                continue  # shrink this one, not another
            sought[:] = [shape]
            calls = ", then ".join(f"call({shown(given)})" for given in inputs[: number + 1])
            last[:] = [(shape, Difference(calls, shown(one), shown(other)))]
            raise _FoundError

    trial = Trial(reading, fake, Entry(differs_in_another_way, "general"), seed=seed)
    try:
        trial.run()
    except _FoundError:
        (shape, difference) = last[0]
        known.add(shape)
        return difference
    return None


def _shape(ended: Completion) -> str:
    """How a call ended, without its values: what differs in one way has one shape."""
    if ended.raised:
        return f"raised {ended.view!r}"
    return f"{'failed' if ended.failed else 'returned'} {type(ended.value).__name__}"
