"""Which laws a contract has, where they come from, and which of them somebody took away.

A contract inherits the laws of its bases. Replacing one by another of the same name, setting it to
None or narrowing ``general`` does not make it vanish: the entry stays, and says what became of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from windtunnel.laws.base import Contract
from windtunnel.laws.book import Law, named
from windtunnel.laws.errors import ContractError

_JUDGING = (
    "call",
    "view",
    "view_error",
    "error",
    "errors",
    "timeout_errors",
    "tolerance_s",
    "examples",
    "close",
    "state",
    "stats",
    "progress",
    "identifiers",
    "portable",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A law as one contract has it.

    :param law: what is run.
    :param origin: name of the contract that has it first; ``"general"`` for those of the house.
    :param overridden_by: name of the contract that put another in its place.
    :param left_out_by: name of the contract that took it away.
    :param reason: why it was taken away; empty where nobody said.
    :param missing: what the contract does not declare, without which the law cannot be asked.
    """

    law: Law
    origin: str
    overridden_by: str = ""
    left_out_by: str = ""
    reason: str = ""
    missing: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What ids show."""
        title = self.law.title
        if self.overridden_by:
            return f"{title}-overridden-by-{self.overridden_by}"
        return f"{title}-left-out-by-{self.left_out_by}" if self.left_out_by else title

    @property
    def runs(self) -> bool:
        """Whether subjects are put to it."""
        return not self.missing and not self.left_out_by


def entries(contract: type[Contract]) -> dict[str, Entry]:
    """Every law of a contract by title, general ones first.

    :raises ContractError: where ``without`` or ``general`` names no law.

    >>> from windtunnel import laws
    >>> class Queues(laws.Contract):
    ...     @laws.law
    ...     def is_fifo(queue, draw): ...
    >>> class Ours(Queues):
    ...     @laws.law
    ...     def is_fifo(queue, draw): ...
    >>> entries(Ours)["is_fifo"].title
    'is_fifo-overridden-by-Ours'
    """
    found: dict[str, Entry] = {
        one.name: Entry(one, "general", missing=_missing(contract, one)) for one in _general()
    }
    _narrow(found, contract)
    for cls in reversed(contract.__mro__):
        if issubclass(cls, Contract) and cls is not Contract:
            _add(found, cls)
    _leave_out(found, contract)
    return found


def _general() -> tuple[Law, ...]:
    from windtunnel.laws.general import ALL

    return ALL


def _missing(contract: type[Contract], law: Law) -> tuple[str, ...]:
    return tuple(
        need
        for need in law.needs
        if not any(contract.declares(choice) for choice in need.split("|"))
    )


def _narrow(found: dict[str, Entry], contract: type[Contract]) -> None:
    """Keep the general laws that the contract wants; what its bases wanted is left out by it."""
    wanted: set[str] | None = None
    for cls in reversed(contract.__mro__):
        if "general" not in vars(cls) or cls is Contract:
            continue
        given = vars(cls)["general"]
        chosen = set(found) if given is None else set(given)
        if unknown := sorted(chosen - set(found)):
            raise ContractError(
                f"{cls.__name__}.general names no general law",
                found=", ".join(unknown),
                fix=f"name some of {', '.join(found)}",
            )
        before = wanted
        if before is None and any(base is not Contract for base in _bases(cls)):
            before = set(found)
        for name in sorted((before or set()) - chosen):
            if not found[name].missing:
                found[name] = dataclasses.replace(found[name], left_out_by=cls.__name__)
        for name in chosen:
            found[name] = dataclasses.replace(found[name], left_out_by="")
            if given is not None and found[name].missing:
                raise ContractError(
                    f"{cls.__name__} cannot be put to {name}",
                    found=f"it does not declare {', '.join(found[name].missing)}",
                    fix="declare it, or take the law out of general",
                )
        wanted = chosen
    if wanted is not None:
        for name in set(found) - wanted:
            if not found[name].left_out_by:
                del found[name]


def _bases(cls: type) -> Iterator[type]:
    return (base for base in cls.__bases__ if issubclass(base, Contract))


def _add(found: dict[str, Entry], cls: type[Contract]) -> None:
    mine: set[str] = set()
    for title, law in _own(cls):
        if title in mine:
            raise ContractError(
                f"two laws of {cls.__name__} have one name",
                found=repr(title),
                fix="name one of them otherwise: laws.law(name=...)",
            )
        mine.add(title)
        before = found.get(title)
        if law is None:
            if before is not None:
                found[title] = dataclasses.replace(before, left_out_by=cls.__name__)
        elif before is None:
            found[title] = Entry(law, cls.__name__)
        elif before.law.function is not law.function:
            found[title] = Entry(law, before.origin, overridden_by=cls.__name__)


def _own(cls: type[Contract]) -> Iterator[tuple[str, Law | None]]:
    """The laws that this class itself declares; None for one that it sets to None."""
    inherited = {law.title for base in cls.__mro__[1:] for law in _in_body(base)}
    inherited |= {law.title for law in _general()}
    for name, value in vars(cls).items():
        if isinstance(value, Law):
            yield value.title, value
        elif value is None and name in inherited:
            yield name, None
    for function in vars(cls).get("more_laws", ()):
        law = named(function)
        yield law.title, law
    for kind in ("scenario", "trigger"):
        for law in _listed(vars(cls).get(f"{kind}s", ()), kind):
            yield law.title, law


def _in_body(cls: type) -> Iterator[Law]:
    return (value for value in vars(cls).values() if isinstance(value, Law))


def _listed(given: Mapping[str, Any] | Iterable[Any], kind: Any) -> Iterator[Law]:
    if not isinstance(given, Mapping):
        for one in given:
            function: Any = one
            yield named(function, kind=kind)
        return
    for name, value in given.items():
        if isinstance(value, Law) or callable(value):
            yield named(value, kind=kind, name=name)
        else:
            yield Law(Calls(value), name, f"call({value!r})", kind)


class Calls:
    """A scenario or trigger that was given as an input: calls the subject with it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    async def __call__(self, subject: Any, draw: Any) -> Any:
        """Call the subject."""
        return await draw.case.used(subject, self.value)


def own_judgement(contract: type[Contract]) -> dict[str, str]:
    """What of its bases' ways to use and judge a subject a contract replaced by its own.

    A law that is kept word for word tells nothing if ``view`` was made to show nothing.

    >>> class Queues(Contract):
    ...     def view(self, result): return result.text
    >>> class Ours(Queues):
    ...     def view(self, result): return None
    >>> own_judgement(Ours)
    {'view': 'Queues'}
    """
    replaced: dict[str, str] = {}
    for name in _JUDGING:
        holders = [cls for cls in contract.__mro__ if name in vars(cls) and cls is not Contract]
        if len(holders) > 1:
            replaced[name] = holders[-1].__name__
    return replaced


def _leave_out(found: dict[str, Entry], contract: type[Contract]) -> None:
    reasons = {
        title: (reason, cls.__name__)
        for cls in reversed(contract.__mro__)
        if issubclass(cls, Contract)
        for title, reason in vars(cls).get("without", {}).items()
    }
    for title, (reason, who) in reasons.items():
        if title not in found:
            raise ContractError(
                f"{contract.__name__}.without names no law",
                found=repr(title),
                fix=f"name one of {', '.join(found)}",
            )
        if not reason.strip():
            raise ContractError(
                f"{contract.__name__} leaves {title} out without a reason",
                fix="say why in its without",
            )
        found[title] = dataclasses.replace(
            found[title], left_out_by=found[title].left_out_by or who, reason=reason
        )
