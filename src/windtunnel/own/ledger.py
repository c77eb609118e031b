"""Telling the record what was taken and given back, by whom.

The plugin says which test and which worker this process is at; outside a test run the two stay
empty and the events go wherever :func:`windtunnel.core.emit` sends them.
"""

from __future__ import annotations

import dataclasses

from windtunnel.core import Resource, emit


@dataclasses.dataclass(slots=True)
class Place:
    """Where this process is: the test it runs and its worker's name."""

    nodeid: str = ""
    worker: str = ""
    exported: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Environment variables that tell the test of its leases: the run's doing, not the test's."""


place = Place()
"""This process's place. Set by the plugin, read by :func:`note`."""


def note(action: str, resource: str, name: str) -> None:
    """Emit a :class:`windtunnel.core.Resource` event from this process's place."""
    emit(
        Resource(
            action=action, resource=resource, name=name, nodeid=place.nodeid, worker=place.worker
        )
    )
