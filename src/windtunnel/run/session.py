"""What this process is in the run: its role, its name, the run's id, seed and settings.

One :class:`RunState` lives in ``config.stash[STATE]`` of every process that takes part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Literal

import pytest

from windtunnel.core import Seed, Settings

Role = Literal["main", "controller", "worker"]


@dataclasses.dataclass(slots=True)
class RunState:
    """This process's part in the run. Changed only where a worker is forked.

    :param role: ``main`` runs the tests itself, ``controller`` hands them to ``worker``\\ s.
    :param worker: ``gw0`` and so on in a worker, ``main`` elsewhere.
    :param run_id: the run's name in the record.
    :param root: the project's root (pytest's rootdir).
    :param invoked_in: the folder that the command was given in.
    :param isolation: what isolation this process really has, once it has it. Code that applies
        an isolation adds its name here.
    :param under_xdist: whether controller and workers are pytest-xdist's.
    :param stays: whether this process is to stay until the others are done, so that no new one
        may take its place: it uses what is made once for all of them.
    """

    settings: Settings
    role: Role
    worker: str
    run_id: str
    seed: Seed
    root: Path
    invoked_in: Path
    isolation: set[str] = dataclasses.field(default_factory=set[str])
    under_xdist: bool = False
    worker_count: int = 0
    stays: bool = False

    @property
    def runs_tests(self) -> bool:
        """Whether tests run in this very process."""
        return self.role != "controller"

    @property
    def record_path(self) -> Path:
        """Absolute path of the record's file."""
        return self.root / self.settings.record

    @property
    def state_dir(self) -> Path:
        """The folder beside the record for what lives as long as runs do: spools, locks, page."""
        return self.record_path.parent


STATE = pytest.StashKey[RunState]()
"""Where ``config.stash`` keeps this process's :class:`RunState`."""


def recordable(settings: Settings, root: Path) -> tuple[Settings, str]:
    """The settings with a record that can be written, and what to say where that is another.

    A project may be read-only, or its ``.windtunnel`` in the way. Its tests are run all the same,
    and remembered in the user's own folder.
    """
    folder = (root / settings.record).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "it is read-only"
    except OSError as error:
        reason = error.strerror or str(error)
    if not reason:
        return settings, ""
    from windtunnel.own import home

    name = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
    other = home.folder("records") / name / "record.db"
    other.parent.mkdir(exist_ok=True)
    html = str(other.parent / "report.html") if settings.html else ""
    said = f"windtunnel: cannot write to {folder} ({reason}); this run is recorded in {other}"
    return dataclasses.replace(settings, record=str(other), html=html), said
