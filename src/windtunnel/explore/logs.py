"""Log records of simulated nodes say which node wrote them, and at what virtual time.

Messages stay as they are: the record gets two attributes, and pytest's captured log a prefix.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from typing import Any

from windtunnel.sim import inside
from windtunnel.sim.world import World

NODE = "sim_node"
TIME = "sim_time_s"
# Not "node": logging refuses a record's own names in `extra`, and programs use that one.


@contextlib.contextmanager
def marked(world: World, handler: logging.Handler | None) -> Generator[None, None, None]:
    """Within the block, records made on the world's nodes are marked and noted for the story.

    :param handler: whose output is prefixed: pytest's for the report.
    """
    make = logging.getLogRecordFactory()

    def marking(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if inside.world is world:
            setattr(record, NODE, world.node.name)
            setattr(record, TIME, world.now_ns / 1e9)
        return record

    noting = _Noting(world)
    logging.setLogRecordFactory(marking)
    logging.getLogger().addHandler(noting)
    formatter = handler.formatter if handler is not None else None
    if handler is not None:
        handler.formatter = _Prefixing(formatter)
    try:
        yield
    finally:
        if handler is not None:
            handler.formatter = formatter
        logging.getLogger().removeHandler(noting)
        logging.setLogRecordFactory(make)


class _Noting(logging.Handler):
    """Puts what is logged on a node among the facts of the story."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        node = getattr(record, NODE, None)
        if node is None:
            return
        try:
            text = record.getMessage()
        except Exception:
            self.handleError(record)
        else:
            self._world.note("log", node=node, level=record.levelname, text=text)


class _Prefixing(logging.Formatter):
    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        text = self._formatter.format(record)
        node = getattr(record, NODE, None)
        return text if node is None else f"[{node} {getattr(record, TIME):.6f}s] {text}"
