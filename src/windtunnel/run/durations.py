"""How long tests take, as far as the record knows: what schedules are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from windtunnel.core import RecordError
from windtunnel.run.session import RunState


def known_durations(state: RunState, say: Callable[[str], None]) -> Mapping[str, float]:
    """Seconds each test takes (75th percentile of its last runs), by node id.

    :param say: told, a line at a time, what is wrong with the record. That never ends a run:
        what it records waits in its spools.
    """
    if not state.record_path.exists():
        return {}
    from windtunnel.record import open_record

    try:
        with open_record(state.record_path) as record:
            for notice in record.notices:
                say(f"windtunnel: {notice}")
            return {row.nodeid: row.p75_s for row in record.durations().values()}
    except RecordError as error:
        say(f"windtunnel: {error}")
        return {}
