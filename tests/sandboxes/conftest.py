"""A sandbox a tier whose cells evaluate what they are told, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from windtunnel.sandboxes import CellLimits, ProcessSandbox, Program
from windtunnel.sandboxes.cell import ProcessCell

TELLER = '''
import ctypes, errno, json, mmap, os, resource, socket, struct, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    """The name of the error that a system call gives, or what it returns."""
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(
        argument if isinstance(argument, bytes) else ctypes.c_void_p(argument)
        for argument in arguments
    ))
    return result if result != -1 else errno.errorcode[ctypes.get_errno()]

def main(channel):
    names = dict(globals())
    while True:
        code = channel.receive().decode()
        try:
            try:
                told = repr(eval(code, names))
            except SyntaxError:
                exec(code, names)
                told = repr(names.get("told"))
        except BaseException as error:
            number = getattr(error, "errno", None)
            told = f"{type(error).__name__} {errno.errorcode.get(number, '')} {error}"
        channel.send(told.encode())
'''
PROGRAM = Program((("teller", TELLER),), "teller:main")


@pytest.fixture(scope="session")
def program() -> Program:
    """Answers each message, an expression or code that binds ``told``, with what came of it."""
    return PROGRAM


@pytest.fixture(scope="session")
def ask() -> Callable[[ProcessCell, str], str]:
    """``ask(cell, code)`` is what a cell of that program answers."""
    return answer_of


def answer_of(cell: ProcessCell, code: str) -> str:
    cell.send(code.encode(), timeout_s=20)
    while True:
        message = cell.receive(20)
        if message is not None:
            return message.decode()
        assert cell.printed, "the cell has not answered for 20 s"


@pytest.fixture(scope="package")
def sandbox_at() -> Iterator[Callable[[str], ProcessSandbox]]:
    """``sandbox_at("plain")`` is the sandbox of that tier, one for all tests."""
    known: dict[str, ProcessSandbox] = {}
    with ExitStack() as stack:

        def at(tier: str) -> ProcessSandbox:
            if tier not in known:
                known[tier] = stack.enter_context(ProcessSandbox(PROGRAM, tier=tier))
            return known[tier]

        yield at


@pytest.fixture(params=["bubblewrap", "bubblewrap-cold", "plain"])
def tier(request: pytest.FixtureRequest, require_tool) -> str:
    if request.param != "plain":
        require_tool("bwrap")
    return request.param


@pytest.fixture(scope="package")
def cell_at(sandbox_at) -> Iterator[Callable[[str], ProcessCell]]:
    """A cell of that tier that many tests use, one after another; a new one where it died."""
    known: dict[str, ProcessCell] = {}

    def at(tier: str) -> ProcessCell:
        if tier not in known or not known[tier].alive:
            known[tier] = sandbox_at(tier).start(CellLimits(memory_mb=128, scratch_mb=2))
        return known[tier]

    yield at
    for cell in known.values():
        cell.close()
