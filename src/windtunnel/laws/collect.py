"""Contracts as pytest nodes: ``test_file.py::Contract::subject::law``.

A law's test is a ``pytest.Function``, so that fixtures, marks, isolation, reruns, ``-k`` and
``--lf`` mean for it what they mean for any other.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from windtunnel.core.errors import WindtunnelError
from windtunnel.laws.base import Contract
from windtunnel.laws.entries import Calls, Entry, entries, own_judgement
from windtunnel.laws.errors import LawBrokenError, NothingToTest, VacuousError
from windtunnel.laws.reading import Reading, read
from windtunnel.laws.running import Trial
from windtunnel.laws.subjects import Subject


def node_of(collector: pytest.Collector, name: str, obj: type) -> pytest.Collector | None:
    """The node of a contract that is defined where it was found; None for any other."""
    module = collector.getparent(pytest.Module)
    if module is None or not issubclass(obj, Contract) or not obj.declares("subjects"):
        return None
    if obj.__module__ != module.obj.__name__ or not getattr(obj, "__test__", True):
        return None  # imported, as a rule to be subclassed; or not meant to be collected
    return ContractNode.from_parent(collector, name=name, contract=obj)


class ContractNode(pytest.Collector):
    """A contract: one child a subject."""

    def __init__(self, *, contract: type[Contract], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.contract = contract
        self.obj = contract
        for mark in _marks(contract):
            plain = getattr(mark, "mark", mark)
            self.own_markers.append(plain)
            self.keywords[plain.name] = plain

    @property
    def line(self) -> int:
        """The line of its class, from 0; that of the file where it was made by a call."""
        try:
            return inspect.getsourcelines(self.contract)[1] - 1
        except (OSError, TypeError):
            return 0

    def collect(self) -> Iterator[SubjectNode]:
        """One node a subject; a contract that cannot be read is a collection error."""
        try:
            reading = read(self.contract)
        except WindtunnelError as error:
            raise self.CollectError(str(error)) from error
        for subject in reading.subjects:
            yield SubjectNode.from_parent(
                self, name=subject.title, subject=subject, reading=reading
            )


class SubjectNode(pytest.Collector):
    """A subject of a contract: one child a law."""

    def __init__(self, *, subject: Subject, reading: Reading, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.subject = subject
        self.reading = reading

    def collect(self) -> Iterator[LawItem]:
        """One test a law that is asked, or that somebody took away."""
        for entry in self.reading.asked(self.subject):
            nodeid = f"{self.nodeid}::{entry.title}"
            test = _test(self.reading, self.subject, entry, nodeid)
            item = LawItem.from_parent(self, name=entry.title, callobj=test)
            parent = self.parent.nodeid if self.parent is not None else ""
            subject = self.subject
            item.wt_law = [parent, entry.title, subject.name, subject.role, subject.stands_for]
            yield item


class LawItem(pytest.Function):
    """The test of one subject and one law."""

    wt_law: list[str]
    """The contract's node id, the law's title, the subject's name, role and whom it stands for."""

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where it stands: a law of the house is where somebody asks it, in the contract."""
        path, line, name = super().reportinfo()
        contract = self.getparent(ContractNode)
        if contract is None or hasattr(self.obj, "__wrapped__"):
            return path, line, name
        return contract.path, contract.line, name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What the house found stands in its message; a traceback would show the house alone."""
        error = excinfo.value
        if isinstance(error, VacuousError | LawBrokenError) and error.__cause__ is None:
            return "\n".join([str(error), *getattr(error, "__notes__", ())])
        return super().repr_failure(excinfo)


def _test(reading: Reading, subject: Subject, entry: Entry, nodeid: str) -> Callable[..., None]:
    def test(**fixtures: Any) -> None:
        __tracebackhide__ = True
        _refuse_left_out(entry)
        try:
            left = Trial(reading, subject, entry, fixtures=fixtures).run()
        except NothingToTest as why:
            _skip(str(why))
        left.tell(nodeid)

    make = inspect.signature(reading.contract.make)
    names = [one for one in make.parameters.values() if _asks(one)]
    vars(test).update(
        __signature__=inspect.Signature(names),
        pytestmark=_marks(entry.law.function),
    )
    if not entry.law.general and not isinstance(entry.law.function, Calls):
        vars(test)["__wrapped__"] = inspect.unwrap(entry.law.function)  # where it is reported
    test.__name__ = test.__qualname__ = entry.title
    test.__doc__ = entry.law.says
    return test


def _asks(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty


def _marks(holder: Any) -> list[Any]:
    marks = getattr(holder, "pytestmark", [])
    return list(marks) if isinstance(marks, list | tuple) else [marks]


def _skip(why: str) -> NoReturn:
    __tracebackhide__ = True
    raise pytest.skip.Exception(why, _use_item_location=True)  # the law's line, not this one


def _refuse_left_out(entry: Entry) -> None:
    __tracebackhide__ = True
    if not entry.left_out_by:
        return
    if entry.reason:
        _skip(f"left out by {entry.left_out_by}: {entry.reason}")
    pytest.fail(
        f"{entry.left_out_by} takes the law {entry.law.title} of {entry.origin} away\n"
        "  found: no reason\n"
        f"  to fix: without = {{{entry.law.title!r}: 'why'}}, or keep it",
        pytrace=False,
    )


def summary(items: list[pytest.Item], verbose: bool) -> list[str]:
    """A line for each contract that has tests: subjects, laws, and those that do not apply."""
    contracts = {
        node: None for item in items for node in item.listchain() if isinstance(node, ContractNode)
    }
    return [_line(node, items, verbose) for node in contracts]


def _line(node: ContractNode, items: list[pytest.Item], verbose: bool) -> str:
    mine = [item for item in items if node in item.listchain()]
    told = f"laws: {node.name}: {_count(len(mine), 'test')} of"
    told += f" {_count(len({item.parent for item in mine}), 'subject')}"
    if replaced := own_judgement(node.contract):
        bases = ", ".join(dict.fromkeys(replaced.values()))
        told += f"; judged by its own {', '.join(replaced)}, not by those of {bases}"
    missing = {title: one.missing for title, one in entries(node.contract).items() if one.missing}
    if not missing:
        return told
    if not verbose:
        return f"{told}; {len(missing)} general laws are not asked (-v says why)"
    every = (f"  {title}: no {', no '.join(needs)}" for title, needs in missing.items())
    return "\n".join([f"{told}; not asked, since it declares:", *every]).replace("|", " or ")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
