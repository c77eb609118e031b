"""Processes that measure, one order each: a fresh interpreter, or a fork of this process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from windtunnel.bench.target import Reference, Target
from windtunnel.bench.worker import Answer, Order, answer_to, checked
from windtunnel.core import WindtunnelError
from windtunnel.own import Scope


class ProcessFailedError(WindtunnelError):
    """A process that measured died before it answered."""


def run(target: Target, order: Order, name: str) -> Answer:
    """Have an order carried out in a process of its own, and wait for the answer.

    :raises UsageError: where the function is not found or could not be run.
    :raises ProcessFailedError: where the process died.
    """
    if isinstance(target, Reference):
        answer = _in_fresh(target, order, name)
    else:
        answer = _in_fork(target, order, name)
    return checked(answer, name)


def _in_fresh(target: Reference, order: Order, name: str) -> Answer:
    order = {**order, "target": dataclasses.asdict(target)}
    read, write = os.pipe()
    with Scope(f"measuring {name}", house=True) as scope, os.fdopen(read, "rb") as pipe:
        try:
            child = scope.child(
                [sys.executable, "-P", "-m", "windtunnel.bench.worker", str(write)],
                name=f"measuring {name}",
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(write,),
            )
        finally:
            os.close(write)
        assert child.process.stdin is not None
        try:
            with child.process.stdin as stdin:
                stdin.write(json.dumps(order).encode())
        except BrokenPipeError:
            pass  # it has died, which the empty answer says
        told = pipe.read()
        code = child.process.wait()
    return _read(told, name, code)


def _in_fork(fn: Callable[[], Any], order: Order, name: str) -> Answer:
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of every other thread; `target_of` has seen to those that matter.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _child(fn, order, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        try:
            told = pipe.read()
        except BaseException:
            os.kill(pid, 9)
            raise
        finally:
            _, status = os.waitpid(pid, 0)
    return _read(told, name, os.waitstatus_to_exitcode(status))


def _child(fn: Callable[[], Any], order: Order, write: int) -> None:
    code = 1
    try:
        asyncio._set_running_loop(None)  # the parent's; nothing of it runs here
        os.write(write, b"")
        with os.fdopen(write, "wb") as pipe:
            pipe.write(json.dumps(answer_to(order, fn)).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # what the parent would do at its end is the parent's


def _read(told: bytes, name: str, code: int) -> Answer:
    try:
        answer: Answer = json.loads(told)
    except ValueError:
        raise ProcessFailedError(
            f"the process that measured {name} died",
            found=f"exit code {code}" if code >= 0 else f"signal {-code}",
            fix="run the function by itself to see why",
        ) from None
    return answer
