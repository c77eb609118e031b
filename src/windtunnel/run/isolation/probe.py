"""Finding out what isolation this machine gives, by doing it in a child that then ends."""

from __future__ import annotations

import json
import os
import warnings

import pytest

from windtunnel.core import IsolationError
from windtunnel.run.isolation.apply import Applied
from windtunnel.run.session import RunState


def probe(config: pytest.Config, state: RunState) -> dict[str, str]:
    """Which of the namespaces asked for cannot be had here, and why.

    Everything is done for real, in a forked child: a permission, a kernel or a file system that
    refuses is found by its refusal and not by a version number.
    """
    if not hasattr(os, "fork"):
        return dict.fromkeys(
            state.settings.isolation & {"namespace", "net"}, "this system is not Linux"
        )
    config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # once, not by the child
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: no Python there
        child = os.fork()
    if child == 0:
        answer = b'{"namespace": "the attempt failed", "net": "the attempt failed"}'
        try:
            answer = json.dumps(_attempt(config, state)).encode()
        finally:
            os.write(write, answer)
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, str] = json.loads(text)
    return found


def _attempt(config: pytest.Config, state: RunState) -> dict[str, str]:
    applied = Applied(config, state)
    missing: dict[str, str] = {}
    for name in ("namespace", "net"):
        if name in state.settings.isolation:
            try:
                applied.apply(name)
            except IsolationError as error:
                missing[name] = error.found
    return missing
