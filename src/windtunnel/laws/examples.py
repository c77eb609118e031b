"""Examples: what a law draws, and the search for one that breaks it.

Hypothesis draws, shrinks and remembers; its seed is the run's, by the test's name, so that
``--seed`` repeats a run's examples. Without Hypothesis, laws that draw nothing still run.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from windtunnel.core.errors import MissingExtraError
from windtunnel.laws.errors import ContractError

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject, SearchStrategy

    from windtunnel.laws.case import Case

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class Seen:
    """What a law came to, over all examples of a subject."""

    branches: set[str] = dataclasses.field(default_factory=set[str])
    moot: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    firsts: dict[str, object] = dataclasses.field(default_factory=dict[str, object])


class Draw:
    """What a law draws its values with: ``draw(strategy)``.

    :ivar case: the example that the law is in: makes, calls and closes subjects as the contract
        does.

    >>> from hypothesis import strategies as st
    >>> from windtunnel import laws
    >>> def keeps_what_is_added(collection, draw):
    ...     number = draw(st.integers(), "number")
    ...     collection.append(number)
    ...     assert collection == [number]
    >>> Lists = laws.contract(subjects=[list], more_laws=[keeps_what_is_added], examples=10)
    >>> [(one.verdict.value, one.examples) for one in laws.check(Lists)]
    [('pass', 10)]
    """

    case: Case

    def __init__(self, data: DataObject | None, seen: Seen | None = None) -> None:
        self._data = data
        self._seen = seen or Seen()

    def saw(self, branch: str) -> None:
        """Report that the law came to one of its ``branches``."""
        self._seen.branches.add(branch)

    def moot(self, branch: str, why: str) -> None:
        """Report that this example cannot come to a branch: where none can, the law is skipped."""
        self._seen.moot.setdefault(branch, why)

    def differs(self, branch: str, value: object) -> None:
        """Report a value; once two that differ were reported, the branch was come to."""
        if self._seen.firsts.setdefault(branch, value) != value:
            self.saw(branch)

    def __call__(self, strategy: SearchStrategy[T], label: str = "") -> T:
        """A value of the strategy, shown under its label when the law fails.

        :raises MissingExtraError: where Hypothesis is not installed.
        """
        if self._data is None:
            raise MissingExtraError("laws", needed_for="a law that draws")
        return self._data.draw(strategy, label or None)

    def __repr__(self) -> str:
        return "draw"

    def declared(self, name: str, label: str) -> Any:
        """A value of one of the contract's strategies, by the strategy's name."""
        return self(self._declared(name), label)

    def _declared(self, name: str) -> Any:
        strategy = getattr(self.case.contract, name)
        if strategy is None:
            raise ContractError(
                "a law draws what its contract does not declare",
                found=f"{type(self.case.contract).__name__}.{name} is None",
                fix=f"set {name} to a Hypothesis strategy",
            )
        return strategy

    def input(self, label: str = "input") -> Any:
        """One of the contract's ``inputs``."""
        return self(self._declared("inputs"), label)

    def any_input(self, label: str = "input") -> Any:
        """One of the contract's ``inputs`` or, as often, of its ``invalid_inputs``."""
        contract = self.case.contract
        both = [one for one in (contract.inputs, contract.invalid_inputs) if one is not None]
        if len(both) < 2:
            return self(both[0], label) if both else self.input(label)
        return self(both[0] | both[1], label)

    def inputs(self, at_most: int, at_least: int = 1) -> list[Any]:
        """Several inputs, valid and invalid."""
        from hypothesis import strategies

        count = self(strategies.integers(at_least, at_most), "how many")
        return [self.any_input(f"input {number}") for number in range(1, count + 1)]

    def config(self) -> Any:
        """One of the contract's ``configs``; None where it has none."""
        strategy = self.case.contract.configs
        return None if strategy is None else self(strategy, "config")


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How examples are looked for.

    :param name: whose they are, as Hypothesis shows it.
    :param key: what the examples of a failure are remembered by.
    :param seed: what they are drawn from.
    :param examples: how many there are at most.
    """

    name: str
    key: str
    seed: int
    examples: int


def explore(once: Callable[[DataObject | None], None], plan: Plan) -> None:
    """Put a law to examples, one call of ``once`` each; the smallest failure is raised."""
    if importlib.util.find_spec("hypothesis") is None:
        once(None)
        return
    import hypothesis
    from hypothesis import strategies

    def test(data: DataObject) -> None:
        __tracebackhide__ = True
        once(data)

    checks: Any = list(hypothesis.HealthCheck)
    test.__name__ = test.__qualname__ = re.sub(r"\W", "_", plan.name)  # must be an identifier
    vars(test)["_hypothesis_internal_add_digest"] = plan.key.encode()
    made = hypothesis.given(strategies.data())(test)
    made = hypothesis.seed(plan.seed)(made)
    made = hypothesis.settings(
        max_examples=plan.examples,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        phases=[one for one in hypothesis.settings().phases if one != hypothesis.Phase.explain],
        suppress_health_check=checks,
    )(made)
    made()
