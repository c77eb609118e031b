"""Markers that cannot be meant are refused when the tests are collected."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from windtunnel.core import UsageError


class MarkerCheck:
    """The pytest plugin that turns a marker's :class:`UsageError` into an error of collection.

    A report of a failed collection names the file and reaches the terminal from every kind of
    worker, pytest-xdist's as well, which an exception raised in a worker does not.

    :param read: reads the marker of an item, and raises UsageError where it makes no sense.
    """

    def __init__(self, read: Callable[[pytest.Item], object]) -> None:
        self._read = read

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        errors = []
        for node in report.result or ():
            if isinstance(node, pytest.Item):
                try:
                    self._read(node)
                except UsageError as error:
                    errors.append(str(error))
        if errors:
            report.outcome = "failed"
            report.longrepr = "\n".join(errors)
        return report
