"""What pytest knows of a suite's order and shared fixtures, put into terms of the schedule."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from windtunnel.run.schedule import Job

_SCOPES: dict[str, type[pytest.Collector]] = {
    "package": pytest.Package,
    "module": pytest.Module,
    "class": pytest.Class,
}


def job_of(item: pytest.Item, dist: str) -> Job:
    """The schedule's view of an item: which tests it must stay together with, if any.

    That is the widest of package, module and class for which it uses a fixture of that scope,
    since every worker that runs one of them sets the fixture up. An ``xdist_group`` mark
    groups tests under ``--dist loadgroup``.
    """
    if dist == "loadgroup":
        marker = item.get_closest_marker("xdist_group")
        if marker is None:
            return Job(item.nodeid)
        name = marker.args[0] if marker.args else marker.kwargs.get("name", "default")
        return Job(item.nodeid, group=f"@{name}")
    info = getattr(item, "_fixtureinfo", None)
    scopes = {
        definitions[-1].scope
        for name, definitions in (info.name2fixturedefs.items() if info else ())
        if definitions and not name.startswith("_class_scoped")
    }
    for scope, node_type in _SCOPES.items():
        if scope in scopes:
            node = item.getparent(node_type)
            if node is not None:
                return Job(item.nodeid, group=f"{scope}:{node.nodeid}")
    return Job(item.nodeid)


class OrderWatch:
    """Notices whether somebody put the tests in an order on purpose.

    pytest itself moves tests so that parametrised fixtures of wider scope are made once; that is
    no order given by the user, and is recognised by doing the same.
    """

    def __init__(self, config: pytest.Config) -> None:
        named = [argument for argument in config.args if "::" in argument]
        self.was_given = len(named) > 1

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        before = list(items)
        result = yield
        kept = {id(item) for item in items}
        natural = [item for item in before if id(item) in kept]
        if [id(item) for item in items] != [id(item) for item in natural]:
            from _pytest.fixtures import reorder_items

            grouped = [id(item) for item in reorder_items(before) if id(item) in kept]
            if [id(item) for item in items] != grouped:
                self.was_given = True
        return result
