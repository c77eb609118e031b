"""A seccomp filter, written here as BPF: what is not allowed by name is refused with EPERM.

The kernel runs the filter on each system call (seccomp(2), filter mode) and looks at its number and
its six arguments, never at memory. Numbers are found by halving; demands on arguments follow.
A call of another machine's table (``int 0x80``, x32) ends the process: its numbers mean others.

>>> program = assemble(X86_64, pid=1)
>>> verdict(program, X86_64, NUMBERS[X86_64]["getpid"])
'allow'
>>> verdict(program, X86_64, 101)  # ptrace
'EPERM'
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from windtunnel.sandboxes.syscalls import (
    AARCH64,
    AUDIT_ARCH,
    METADATA,
    NUMBERS,
    UNKNOWN,
    UNSUPPORTED,
    X86_64,
    Argument,
    demands,
)

# linux/bpf_common.h: class, size, mode and operation of an instruction.
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6].
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16

_ALLOW = 0x7FFF0000
_KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS
_FAIL = 0x00050000
REFUSED = _FAIL | errno.EPERM

_X32 = 0x40000000

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant: struct sock_filter."""


def machines() -> tuple[str, ...]:
    """The machines that a filter can be written for, as ``os.uname().machine`` names them."""
    return (X86_64, AARCH64)


def assemble(machine: str, *, pid: int, own_files: bool = True) -> bytes:
    """The filter for a confined Python as an array of ``struct sock_filter``.

    :param machine: one of :func:`machines`.
    :param pid: the number under which the confined process knows itself.
    :param own_files: whether it sees none but its own; else it may not change modes and times.
    :raises KeyError: for another machine.
    """
    actions = _actions(machine, pid)
    if not own_files:
        refused = [NUMBERS[machine].get(name) for name in METADATA]
        actions = {number: code for number, code in actions.items() if number not in refused}
    numbers = sorted(actions)
    body = _search([(number, actions[number]) for number in numbers])
    head: list[Instruction] = [
        (_LOAD_WORD, 0, 0, _ARCH),
        (_IF_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD_WORD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in [*head, *body])


def _actions(machine: str, pid: int) -> dict[int, list[Instruction]]:
    """The instructions that decide each call, by number."""
    special = demands(pid)
    actions = {}
    for name, number in NUMBERS[machine].items():
        if name in UNKNOWN:
            actions[number] = _answer(_FAIL | errno.ENOSYS)
        elif name in UNSUPPORTED:
            actions[number] = _answer(_FAIL | errno.EOPNOTSUPP)
        elif name in special:
            actions[number] = _judge(special[name])
        else:
            actions[number] = _answer(_ALLOW)
    return actions


def _answer(action: int) -> list[Instruction]:
    return [(_RETURN, 0, 0, action)]


def _judge(wanted: Sequence[Argument]) -> list[Instruction]:
    """Allow where every demand is met."""
    code = _answer(_ALLOW)
    for argument in reversed(wanted):
        code = _demand(argument) + code
    return code


def _demand(argument: Argument) -> list[Instruction]:
    """Go on behind these instructions where the demand is met; refuse where not.

    Both machines are little-endian: the lower half of an argument comes first.
    """
    low = _ARGUMENTS + 8 * argument.index
    code: list[Instruction] = []
    if argument.wide:
        code += [(_LOAD_WORD, 0, 0, low + 4), (_IF_EQUAL, 1, 0, 0), (_RETURN, 0, 0, REFUSED)]
    code.append((_LOAD_WORD, 0, 0, low))
    if argument.mask != 0xFFFFFFFF:
        code.append((_AND, 0, 0, argument.mask))
    count = len(argument.values)
    for index, value in enumerate(argument.values):
        code.append((_IF_EQUAL, count - index, 0, value))
    return [*code, (_RETURN, 0, 0, REFUSED)]


def _search(cases: Sequence[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """Find the number in the accumulator by halving; refuse one that is not there."""
    if len(cases) == 1:
        number, action = cases[0]
        return [(_IF_EQUAL, 1, 0, number), (_RETURN, 0, 0, REFUSED), *action]
    middle = len(cases) // 2
    below, above = _search(cases[:middle]), _search(cases[middle:])
    # A conditional jump reaches 255 instructions, an unconditional one any.
    return [(_IF_AT_LEAST, 0, 1, cases[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def verdict(program: bytes, machine: str, number: int, *arguments: int) -> str:
    """What the filter answers to a call: ``allow``, ``kill`` or the name of an error.

    Runs the program as the kernel would, for tests and for the curious.
    """
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, AUDIT_ARCH[machine], 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        operation, if_true, if_false, constant = code[at]
        at += 1
        if operation == _LOAD_WORD:
            (accumulator,) = struct.unpack_from("<I", data, constant)
        elif operation == _AND:
            accumulator &= constant
        elif operation == _JUMP:
            at += constant
        elif operation == _IF_EQUAL:
            at += if_true if accumulator == constant else if_false
        elif operation == _IF_AT_LEAST:
            at += if_true if accumulator >= constant else if_false
        else:
            return _spelled(constant)


def _spelled(action: int) -> str:
    if action == _ALLOW:
        return "allow"
    if action == _KILL:
        return "kill"
    return errno.errorcode[action & 0xFFFF]
