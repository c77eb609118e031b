"""Random histories of grants, children, narrowing, uses, revocation, sealing and time, compared
with a model that says in plain terms what a context may do."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from windtunnel.sessions import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityDenied,
    CapabilityToken,
    SealLedger,
    seal,
    unseal,
)

KEY = bytes(range(32))
FOLDERS = ["/", "/a", "/a/b", "/c"]
OPERATIONS = ["read", "write"]


class Clock:
    now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclasses.dataclass(eq=False)
class Right:
    """The model of a token."""

    folder: str
    operations: frozenset[str]
    limit: float
    end: float
    above: Right | None = None
    used: int = 0
    dead: bool = False

    def line(self) -> list[Right]:
        return [self, *(self.above.line() if self.above else [])]

    def holds(self, path: str, operation: str, now: float) -> bool:
        inside = self.folder == "/" or path == self.folder or path.startswith(f"{self.folder}/")
        alive = not self.dead and now < self.end and self.used < self.limit
        return inside and operation in self.operations and alive

    def covers(self, other: Right) -> bool:
        inside = self.folder == "/" or f"{other.folder}/".startswith(f"{self.folder}/")
        return (
            inside
            and other.operations <= self.operations
            and other.limit <= self.limit
            and other.end <= self.end
        )

    def token(self) -> CapabilityToken:
        return CapabilityToken("fs", CapabilityConstraint(**self.bounds()))

    def bounds(self) -> dict[str, object]:
        return {
            "resources": "/**" if self.folder == "/" else f"{self.folder}/**",
            "operations": sorted(self.operations),
            "uses": None if self.limit == float("inf") else int(self.limit),
            "expires_at": None if self.end == float("inf") else self.end,
        }


RIGHTS = st.builds(
    Right,
    st.sampled_from(FOLDERS),
    st.sets(st.sampled_from(OPERATIONS), min_size=1).map(frozenset),
    st.sampled_from([1, 2, 3, float("inf")]),
    st.sampled_from([2.0, 5.0, float("inf")]),
)


@dataclasses.dataclass(eq=False)
class Place:
    """The model of a context: what it was given, each with all that counts along."""

    real: CapabilityContext
    above: Place | None
    given: list[list[Right]] | None = None  # None: it has what the one above has
    closed: bool = False

    def line(self) -> list[Place]:
        return [self, *(self.above.line() if self.above else [])]

    def held(self) -> list[list[Right]]:
        if self.given is not None:
            return self.given
        return self.above.held() if self.above else []

    def admits(self, path: str, operation: str, now: float) -> list[Right] | None:
        if any(place.closed for place in self.line()):
            return None
        for rights in self.held():
            if all(right.holds(path, operation, now) for right in rights):
                return rights
        return None


class Machine(RuleBasedStateMachine):
    """Both at once."""

    places = Bundle("places")
    rights = Bundle("rights")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.ledger = SealLedger()
        self.all: list[Place] = []
        self.tokens: dict[Right, CapabilityToken] = {}

    @rule(target=places)
    def a_root(self):
        place = Place(CapabilityContext("root", clock=self.clock), None, [])
        self.all.append(place)
        return place

    @rule(target=rights, right=RIGHTS)
    def a_token(self, right):
        self.tokens[right] = right.token()
        return right

    @rule(target=rights, right=rights, less=RIGHTS)
    def narrowed(self, right, less):
        less = dataclasses.replace(less, above=right, used=0, dead=False)
        token = self.tokens[right]
        if right.covers(less):
            self.tokens[less] = token.narrow(**less.bounds())
            return less
        given = {name: value for name, value in less.bounds().items() if value is not None}
        if right.covers(dataclasses.replace(
            less, limit=min(less.limit, right.limit), end=min(less.end, right.end)
        )):  # fmt: skip
            return multiple()  # what is not named goes on to hold; the model has no word for that
        with pytest.raises(CapabilityDenied):
            token.narrow(**given)
        return multiple()

    @rule(target=rights, right=rights)
    def sealed_and_back(self, right):
        token = self.tokens[right]
        text = seal(token, KEY, ledger=self.ledger)
        assert unseal(text, KEY, ledger=self.ledger) is token
        return right

    @rule(place=places, right=rights)
    def given(self, place, right):
        token = self.tokens[right]
        if place.above is None:
            place.real.add_capability(token)
            if all(rights[0] is not right for rights in place.given):
                place.given.append(right.line())
            return
        above = self._above(place, right)
        if above is None:
            with pytest.raises(CapabilityDenied):
                place.real.add_capability(token)
            return
        place.real.add_capability(token)
        place.given = place.given or []
        if all(rights[0] is not right for rights in place.given):
            place.given.append(list(dict.fromkeys(right.line() + above)))

    def _above(self, place, right):
        held = place.above.held()
        for rights in held:
            if rights[0] in right.line():
                return rights
        alive = lambda rights: all(  # noqa: E731
            not one.dead and self.clock.now < one.end and one.used < one.limit for one in rights
        )
        covering = [
            rights
            for rights in held
            if all(any(one.covers(mine) for mine in right.line()) for one in rights)
        ]
        return next(iter([one for one in covering if alive(one)] or covering), None)

    @rule(target=places, place=places)
    def a_child(self, place):
        child = Place(place.real.child("child"), place)
        self.all.append(child)
        return child

    @rule(
        place=places, folder=st.sampled_from(FOLDERS), operation=st.sampled_from(OPERATIONS)
    )  # fmt: skip
    def used(self, place, folder, operation):
        path = folder.rstrip("/") + "/x"
        rights = place.admits(path, operation, self.clock.now)
        if rights is None:
            with pytest.raises(CapabilityDenied):
                place.real.use("fs", path, operation=operation)
            return
        place.real.use("fs", path, operation=operation)
        for right in rights:
            right.used += 1

    @rule(place=places, right=rights)
    def revoked(self, place, right):
        if place.given is None or all(rights[0] is not right for rights in place.given):
            return
        place.real.revoke(self.tokens[right])
        right.dead = True

    @rule(place=places)
    def closed(self, place):
        place.real.close()
        place.closed = True

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0]))
    def time_goes_by(self, seconds):
        self.clock.now += seconds

    @invariant()
    def both_allow_the_same(self):
        for place in self.all:
            for folder in FOLDERS:
                for operation in OPERATIONS:
                    path = folder.rstrip("/") + "/x"
                    expected = place.admits(path, operation, self.clock.now) is not None
                    assert place.real.allowed("fs", path, operation=operation) is expected
                    if expected:
                        root = place.line()[-1]
                        assert root.real.allowed("fs", path, operation=operation)

    @invariant()
    def counts_agree_and_are_kept(self):
        for right, token in self.tokens.items():
            assert token.uses == right.used <= right.limit
            assert token.revoked is any(one.dead for one in right.line())


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRandomHistories = Machine.TestCase
