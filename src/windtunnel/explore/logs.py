"""Log records of simulated nodes say which node wrote them, and at what virtual time.

Messages stay as they are: the record gets two attributes, and pytest's captured log a prefix.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from threading import get_ident
from typing import Any

from windtunnel.sim import inside

NODE = "sim_node"
TIME = "sim_time_s"
# Not "node": logging refuses a record's own names in `extra`, and programs use that one.


@contextlib.contextmanager
def marked(handler: logging.Handler | None) -> Generator[None, None, None]:
    """Within the block, records made on nodes of a world are marked and noted for the story.

    :param handler: whose output is prefixed: pytest's for the report.
    """
    make = logging.getLogRecordFactory()

    def marking(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if inside.world is not None and get_ident() == inside.thread:
            _mark(record)
        return record

    logging.setLogRecordFactory(marking)
    formatter = handler.formatter if handler is not None else None
    if handler is not None:
        handler.formatter = _Prefixing(formatter)
    try:
        yield
    finally:
        if handler is not None:
            handler.formatter = formatter
        logging.setLogRecordFactory(make)


def _mark(record: logging.LogRecord) -> None:
    world = inside.world
    assert world is not None
    setattr(record, NODE, world.node.name)
    setattr(record, TIME, world.now_ns / 1e9)
    try:
        text = record.getMessage()
    except (TypeError, ValueError):
        text = str(record.msg)  # its arguments do not fit, which logging itself reports
    world.note("log", logger=record.name, level=record.levelname, message=text)


class _Prefixing(logging.Formatter):
    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        text = self._formatter.format(record)
        node = getattr(record, NODE, None)
        return text if node is None else f"[{node} {getattr(record, TIME):.6f}s] {text}"
