"""The process engine: CPython in a cell, its outcomes, its limits, its host functions."""

from __future__ import annotations

import contextvars
import datetime
import gc
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windtunnel.core import REAL_CLOCK
from windtunnel.own import inventory
from windtunnel.own.waiting import wait_until
from windtunnel.sessions import CapabilityDenied, ExecResult, GuestError, Limits, SessionClosedError
from windtunnel.sessions.engines.process import ProcessGuest
from windtunnel.sessions.values import ValueCrossingError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and pidfds")

QUICK = Limits(timeout_s=20.0, memory_mb=128)
FUNCTIONS = ("double", "fail", "deny", "odd", "where", "wait", "late")

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


class Host:
    """What the guests of these tests may call."""

    def __init__(self) -> None:
        self.meeting = threading.Barrier(3)
        self.release = threading.Event()

    def __call__(self, name: str, args: Any, kwargs: Any) -> object:
        return getattr(self, name)(*args, **kwargs)

    def double(self, value: Any) -> Any:
        return value * 2

    def fail(self, name: str) -> None:
        raise {"KeyError": KeyError, "OSError": OSError}.get(name, NewError)(f"no {name}")

    def deny(self, path: str) -> None:
        raise CapabilityDenied("fs.read", path, "read", "no token is held")

    def odd(self) -> object:
        return object()

    def where(self) -> str:
        return tenant.get()

    def late(self) -> None:
        """Have the time of the run be over."""
        raise NotImplementedError  # where the fixture of that name is not used

    def wait(self, how: str) -> int:
        return self.meeting.wait(20) if how == "together" else int(self.release.wait(20))


class NewError(Exception):
    """One that no Python has built in."""


@pytest.fixture(scope="module")
def shared() -> Iterator[ProcessGuest]:
    guest = ProcessGuest(FUNCTIONS)
    yield guest
    guest.close()


@pytest.fixture
def guest(shared: ProcessGuest, require_tool) -> ProcessGuest:
    require_tool("bwrap")
    shared.reset()
    return shared


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def late(guest: ProcessGuest, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """``late()`` of the guest has the time of its run be over, however slow the machine is."""

    class Clock:
        passed = 0.0

        def monotonic(self) -> float:
            return REAL_CLOCK.monotonic() + self.passed

    clock = Clock()

    def late() -> None:
        clock.passed = 1000  # once: a second call may be answered in another run
        assert guest._cell is not None
        guest._cell.wake()

    monkeypatch.setattr("windtunnel.sessions.engines.process.REAL_CLOCK", clock)
    monkeypatch.setattr(host, "late", late)


@pytest.fixture
def run(guest: ProcessGuest, host: Host) -> Callable[..., ExecResult]:
    def run(code: str, limits: Limits = QUICK, **inputs: Any) -> ExecResult:
        return guest.run(code, inputs=inputs, limits=limits, host=host)

    return run


Run = Callable[..., ExecResult]


def pid_of(guest: ProcessGuest) -> int:
    cell = guest._cell
    assert cell is not None
    return cell.pid  # type: ignore[attr-defined]


def state_of(pid: int) -> str:
    """The state of a process as ``/proc`` has it (proc(5)): R, S, T, Z; empty where gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("6 * 7", 42),
        ("x = 1", None),
        ("x = 1\nx + 1", 2),
        ("", None),
        ("# nothing", None),
        ("if True:\n    7", None),
        ("'a'; 'b'", "b"),
        ("await __import__('asyncio').sleep(0, 'late')", "late"),
        ("import datetime\ndatetime.date(2024, 2, 29)", datetime.date(2024, 2, 29)),
        ("{(1, b'x'): [None, {1}]}", {(1, b"x"): [None, {1}]}),
        ("__name__", "__main__"),
    ],
)
def test_the_value_is_the_last_expressions(code: str, value: object, run: Run) -> None:
    result = run(code)
    assert (result.ok, result.value, result.error) == (True, value, "")


def test_names_are_kept_between_runs_and_forgotten_by_reset(run: Run, guest: ProcessGuest) -> None:
    run("import math\nkept = [math.pi]\ndef area(r):\n    return kept[0] * r * r")
    assert run("area(1) == math.pi").value is True
    guest.reset()
    assert run("area(1)").error_type == "NameError"


def test_inputs_and_assigned_values_are_names_exactly_as_here(
    run: Run, guest: ProcessGuest
) -> None:
    value = {"n": 10**400, "f": [float("inf"), -0.0], "t": "\ud800\x00é", "b": b"\xff"}
    guest.assign("given", value)
    result = run("given == also, given", also=value)
    assert result.value == (True, value)


def test_a_value_that_does_not_cross_is_an_outcome_one_that_is_given_an_error(run: Run) -> None:
    result = run("[1, lambda: 0]")
    assert result.error_type == "ValueCrossingError"
    assert "value[1] is a function" in result.error
    with pytest.raises(ValueCrossingError):
        run("x", x=object())


@pytest.mark.parametrize(
    ("code", "error_type", "error"),
    [
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("1 +", "SyntaxError", "invalid syntax (<session>, line 1)"),
        ("raise SystemExit(3)", "SystemExit", "3"),
        ("class Odd(Exception):\n    pass\nraise Odd('so')", "Odd", "so"),
        ("class Bad(Exception):\n    def __str__(self): return 1 / 0\nraise Bad", "Bad", ""),
        ("input()", "EOFError", "EOF when reading a line"),
    ],
)
def test_code_that_fails_is_an_outcome(code: str, error_type: str, error: str, run: Run) -> None:
    result = run(code)
    assert (result.ok, result.value) == (False, None)
    assert (result.error_type, result.error) == (error_type, error)


def test_a_function_of_the_guest_is_called(run: Run, guest: ProcessGuest, host: Host) -> None:
    run("def join(a, b, *, sep='-'): return f'{a}{sep}{b}'\nasync def late(x): return x")

    def call(name: str, *args: Any, **kwargs: Any) -> ExecResult:
        return guest.call(name, args, kwargs, limits=QUICK, host=host)

    assert call("join", 1, 2, sep="+").value == "1+2"
    assert call("late", [1]).value == [1]
    assert call("join").error_type == "TypeError"
    assert call("nothing").error_type == "NameError"


def test_output_is_what_was_printed_in_its_order(run: Run) -> None:
    result = run(
        "import sys, os\nprint('one')\nprint('two', file=sys.stderr, end='')\n"
        "os.write(1, b'\\xff')\nprint('thrée\\ud800')"
    )
    assert result.output == "one\ntwo\ufffdthrée\\ud800\n"
    assert run("1").output == ""


DEAF = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
late()
while True:
    pass
"""

STUBBORN = """
def again():
    while True:
        try:
            late()
            for _ in range(10**9): len('')
        except BaseException:
            pass
again()
"""

IN_C = """
import ctypes
mutex = bytes(64)
def lock():
    while True:
        try:
            late()
            for _ in 'twice':
                ctypes.PyDLL(None).pthread_mutex_lock(mutex)  # which does not give the GIL up
        except BaseException:
            pass
lock()
"""

BESIDE = """
import threading
threading.Thread(target=exec, args=('while 1: 1',)).start()
late()
while True:
    pass
"""

# -- limits ------------------------------------------------------------------------------------


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is asked to stop has time to hear of it, however slow the machine is."""
    monkeypatch.setattr("windtunnel.sessions.engines.process._GRACE_S", 60)


@pytest.mark.usefixtures("late", "patience")
def test_an_endless_loop_is_stopped_and_names_are_kept(run: Run) -> None:
    run("kept = 1")
    result = run("late()\nwhile True:\n    pass")
    assert (result.ok, result.error_type) == (False, "TimeoutError")
    assert result.error == "it ran longer than 20 s; it stopped when asked, names are kept"
    assert run("kept").value == 1


@pytest.mark.parametrize(
    "code",
    [DEAF, STUBBORN, IN_C, BESIDE],
    ids=["deaf", "stubborn", "in C with the GIL", "a thread goes on"],
)
@pytest.mark.usefixtures("late")
def test_what_does_not_stop_when_asked_is_killed_and_that_is_said(
    code: str, run: Run, guest: ProcessGuest
) -> None:
    run("kept = 1")
    pid = pid_of(guest)
    result = run(code)
    assert result.error_type == "TimeoutError"
    assert "its process was ended and its names are lost" in result.error
    assert state_of(pid) in ("", "Z")
    assert run("kept").error_type == "NameError"  # and the guest serves on


def test_a_thread_left_behind_stands_still_between_runs(run: Run, guest: ProcessGuest) -> None:
    code = "import threading\nn = 0\ndef count():\n    global n\n    while True: n += 1\n"
    assert run(code + "threading.Thread(target=count, daemon=True).start()").ok
    assert wait_until(lambda: state_of(pid_of(guest)) == "T", 60)
    first = run("n").value
    assert wait_until(lambda: run("n").value > first, 60)  # while something runs, it runs too


@pytest.mark.parametrize(
    "code", ["bytearray(1 << 30)", "x = []\nwhile True: x.append(bytes(1 << 20))"]
)
def test_memory_over_the_limit_is_an_error_of_the_guest(code: str, run: Run) -> None:
    run("kept = 1")
    assert run(code).error_type == "MemoryError"
    run("x = None")
    assert run("kept").value == 1


def test_the_depth_of_calls_is_limited(run: Run) -> None:
    deep = "def down(n):\n    return 0 if n == 0 else 1 + down(n - 1)\n"
    limits = Limits(recursion=100, timeout_s=20, memory_mb=128)
    assert run(deep + "down(90)", limits).value == 90
    assert run(deep + "down(110)", limits).error_type == "RecursionError"
    assert run(deep + "down(900)", QUICK).value == 900


def test_output_over_the_limit_ends_the_run_and_names_are_kept(run: Run) -> None:
    limits = Limits(output_bytes=100, timeout_s=20, memory_mb=128)
    run("kept = 1")
    result = run("print('é' * 30)\nprint('x' * 1000)", limits)
    assert result.error_type == "OutputLimitError"
    assert result.output == "é" * 30 + "\n" + "x" * 39
    assert run("kept").value == 1


def test_output_that_goes_round_the_counting_is_limited_too(run: Run) -> None:
    limits = Limits(output_bytes=100, timeout_s=20, memory_mb=128)
    result = run("import os\nwhile True: os.write(1, b'x' * 50000)", limits)
    assert result.error_type == "OutputLimitError"
    assert "names are lost" in result.error
    assert result.output == "x" * 100
    short = run("import os\nos.write(2, b'y' * 101)", limits)
    assert (short.error_type, short.output) == ("OutputLimitError", "y" * 100)


def test_interrupting_ends_what_runs(run: Run, guest: ProcessGuest, host: Host) -> None:
    results: list[ExecResult] = []
    loop = threading.Thread(
        target=lambda: results.append(run("print('on')\nwait('for ever')\nwhile True: pass"))
    )
    loop.start()
    while loop.is_alive():
        guest.interrupt()
        loop.join(0.01)
    host.release.set()
    assert (results[0].ok, results[0].error_type) == (False, "InterruptedError")
    assert run("1").value == 1
    guest.interrupt()  # nothing runs
    assert run("2").value == 2


def test_ctrl_c_while_waiting_for_a_run_ends_the_guests_process(
    run: Run, guest: ProcessGuest, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("kept = 1")
    pid = pid_of(guest)
    main = threading.get_ident()
    monkeypatch.setattr(host, "late", lambda: signal.pthread_kill(main, signal.SIGALRM))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # in a callback of the collector it would be lost
    try:
        with pytest.raises(KeyboardInterrupt):
            run("late()\nwhile True: pass")
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert state_of(pid) in ("", "Z")
    assert run("kept").error_type == "NameError"


def test_an_interrupt_before_it_has_read_its_command_is_not_lost(
    run: Run, guest: ProcessGuest
) -> None:
    run("kept = 1")
    assert guest._cell is not None
    guest._cell.interrupt()  # heard as it is thawed: a slow one may be asked to stop so early
    assert run("while True: pass").error_type == "KeyboardInterrupt"
    assert run("kept").value == 1


@pytest.mark.usefixtures("late")
def test_a_result_that_came_while_nobody_looked_counts(
    run: Run, guest: ProcessGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("kept = 1")
    cell: Any = guest._cell
    receive, stopped = cell.receive, threading.Event()

    def late_to_look(timeout_s: float | None = None) -> bytes | None:
        if stopped.is_set() and timeout_s != 0:
            # This process is not scheduled until the time to stop is over as well.
            assert select.select([cell._channel], [], [], 60)[0]
            threading.Event().wait(0.3)
            return None
        message: bytes | None = receive(timeout_s)
        return message

    monkeypatch.setattr(cell, "receive", late_to_look)
    monkeypatch.setattr(cell, "interrupt", lambda: (type(cell).interrupt(cell), stopped.set()))
    result = run("try:\n    late()\n    while True: pass\nfinally:\n    print('stops')")
    assert result.error == "it ran longer than 20 s; it stopped when asked, names are kept"
    monkeypatch.undo()
    assert run("kept").value == 1


def test_a_guest_that_is_closed_while_its_process_starts_keeps_none(
    monkeypatch: pytest.MonkeyPatch, require_tool
) -> None:
    require_tool("bwrap")
    guest = ProcessGuest()
    start = guest._start
    cells: list[Any] = []

    def meanwhile(limits: Limits) -> ExecResult | None:
        guest.close()
        died = start(limits)
        cells.append(guest._cell)
        return died

    monkeypatch.setattr(guest, "_start", meanwhile)
    guest.run("1", inputs={}, limits=QUICK, host=Host())
    assert cells[0].closed


def test_an_interrupt_while_its_process_starts_is_not_lost(
    run: Run, guest: ProcessGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = guest._start

    def slowly(limits: Limits) -> ExecResult | None:
        guest.interrupt()
        return start(limits)

    monkeypatch.setattr(guest, "_start", slowly)
    assert run("while True: pass").error_type == "InterruptedError"


def test_a_dead_process_is_an_outcome_and_the_next_run_has_another(run: Run) -> None:
    run("kept = 1")
    result = run("import os\nprint('last words')\nos._exit(3)")
    assert (result.error_type, result.output) == ("GuestDiedError", "last words\n")
    assert "its process has ended; its process was ended and its names are lost" in result.error
    assert run("kept").error_type == "NameError"


# -- host functions ----------------------------------------------------------------------------


def test_host_functions_are_called_with_exact_values(run: Run) -> None:
    assert run("double(21), double(value=[b'x']), double.__name__").value == (
        42,
        [b"x", b"x"],
        "double",
    )


@pytest.mark.parametrize("kind", ["KeyError", "OSError"])
def test_an_error_of_the_host_is_the_guests_of_that_name(kind: str, run: Run) -> None:
    assert run(f"fail({kind!r})").error_type == kind
    assert run(f"try:\n    fail({kind!r})\nexcept {kind} as error:\n    note = str(error)\nnote").ok


def test_an_error_that_is_not_built_in_keeps_its_name(run: Run) -> None:
    assert run("fail('?')").error_type == "NewError"


def test_a_refusal_can_be_handled_and_is_named_where_it_is_not(run: Run) -> None:
    result = run("deny('/etc/passwd')")
    assert (result.error_type, result.ok) == ("CapabilityDenied", False)
    assert "not allowed: fs.read read on '/etc/passwd'" in result.error
    assert run("try:\n    deny('/x')\nexcept PermissionError:\n    got = 'no'\ngot").value == "no"


def test_what_cannot_cross_fails_on_the_side_that_sends_it(run: Run) -> None:
    assert run("double(lambda: 0)").error_type == "ValueCrossingError"
    assert run("odd()").error_type == "ValueCrossingError"
    assert run("nothing_of_the_host()").error_type == "NameError"


def test_threads_of_the_guest_call_the_host_at_the_same_time(run: Run) -> None:
    result = run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(3) as pool:\n"
        "    met = sorted(pool.map(wait, ['together'] * 3))\n"
        "met"
    )
    assert result.value == [0, 1, 2]  # a barrier of three lets nobody pass alone


def test_many_threads_call_and_each_has_its_own_answer(run: Run) -> None:
    result = run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    answers = list(pool.map(lambda n: [double(n + k) for k in range(20)], range(8)))\n"
        "answers"
    )
    assert result.value == [[2 * (n + k) for k in range(20)] for n in range(8)]


def test_host_functions_run_in_the_context_of_the_run(run: Run) -> None:
    tenant.set("one")
    assert run("where()").value == "one"
    assert contextvars.copy_context().run(lambda: (tenant.set("two"), run("where()"))[1]).value == (
        "two"
    )
    assert run("where()").value == "one"


@pytest.mark.usefixtures("late", "patience")
def test_the_time_of_a_run_ends_also_while_a_host_function_works(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("kept = 1")
    monkeypatch.setattr(host, "wait", lambda how: (host.late(), host.release.wait(60)))
    result = run("wait('for ever')")
    assert result.error_type == "TimeoutError"
    host.release.set()  # its answer comes too late and is dropped
    assert run("double(kept)").value == 2


# -- what a guest may forge --------------------------------------------------------------------


def forged(body: str) -> str:
    return (
        "import os, struct, _windtunnel_values as v\n"
        f"message = {body}\n"
        "os.write(3, struct.pack('<I', len(message)) + message)\n"
        "while True: pass"
    )


ALIKE = (  # a set of numbers that all have one hash
    "v.encode([n * (2**61 - 1) for n in range(999)])[:-10] + struct.pack('<cQc', b'<', 999, b'.')"
)


@pytest.mark.parametrize(
    "body",
    [
        "b'garbage'",
        "b''",
        "v.encode(None)",
        "v.encode(('result', 1, 1, b'', '', '', 0))",
        "v.encode(('result', 1, True, b'no value', '', '', 0))",
        "v.encode(('result', 1, False, b'', 1, '', 0))",
        "v.encode(('call', 1, 'double'))",
        "v.encode(('call', 1, 'double', v.encode(([], {}))))",
        "v.encode(('call', 1, 'double', v.encode(((), {1: 2}))))",
        "v.encode(('call', 'k', 'double', v.encode(((), {}))))",
        "v.encode(('reply', 1, True, b''))",
        "b'N' + (b'(' + struct.pack('<Q', 1)) * 2 * 10**5 + b'<' + struct.pack('<Q', 1) + b'.'",
        ALIKE,
    ],
    ids=range(13),
)
def test_a_malformed_message_ends_the_guest_and_nothing_else(body: str, run: Run) -> None:
    result = run(forged(body))
    assert result.error_type == "GuestDiedError"
    assert "a malformed message" in result.error
    assert run("1").value == 1


def test_a_length_that_promises_too_much_is_not_waited_for(run: Run) -> None:
    result = run("import os\nos.write(3, b'\\xff\\xff\\xff\\x7f')\nwhile True: pass")
    assert "a message of 2147483647 bytes; at most 16777216" in result.error


def test_a_forged_call_is_refused_as_any_other(run: Run) -> None:
    arguments = "v.encode((('/etc/shadow',), {}))"
    result = run(
        "import os, struct, _windtunnel_values as v\n"
        f"message = v.encode(('call', 77, 'deny', {arguments}))\n"
        "os.write(3, struct.pack('<I', len(message)) + message)\n"
        "double(1)"
    )
    assert result.value == 2  # the refusal went to a key that nobody waits for


def test_a_flood_of_calls_ends_the_guest(run: Run, host: Host) -> None:
    result = run(
        "import os, struct, _windtunnel_values as v\n"
        "for key in range(1000):\n"
        "    message = v.encode(('call', key, 'wait', v.encode((('x',), {}))))\n"
        "    os.write(3, struct.pack('<I', len(message)) + message)\n"
        "while True: pass"
    )
    host.release.set()
    assert result.error_type == "GuestDiedError"
    assert "calls under way" in result.error


def test_a_forged_result_harms_only_the_guest_itself(run: Run) -> None:
    # The guest reads the key of the run from the memory of its own process.
    find = "import sys\nf = sys._getframe()\nwhile 'key' not in f.f_locals: f = f.f_back\n"
    late = "v.encode(('result', f.f_locals['key'], True, v.encode('forged'), '', '', 0))"
    assert run(find + forged(late).replace("while True: pass", "'honest'")).value == "forged"
    assert run("'own'").value == "own"  # what came late is nobody's result


# -- life --------------------------------------------------------------------------------------


def test_a_closed_guest_is_not_used(require_tool) -> None:
    require_tool("bwrap")
    guest = ProcessGuest()
    assert guest.run("1", inputs={}, limits=QUICK, host=Host()).value == 1
    guest.close()
    guest.close()
    with pytest.raises(SessionClosedError):
        guest.run("1", inputs={}, limits=QUICK, host=Host())


def in_a_fork(work: Callable[[], object]) -> str:
    """What ``work`` gives in a process forked from this one, as a test isolated so is."""
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(tell, repr(work()).encode())
            inventory.close_if_empty()
        finally:
            os._exit(0)
    os.close(tell)
    with open(told, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


def test_a_forked_process_uses_its_parents_guest_and_does_not_end_it(
    run: Run, guest: ProcessGuest
) -> None:
    run("kept = 1")
    assert in_a_fork(lambda: (run("kept += 1\nkept").value, guest.close())) == "(2, None)"
    assert run("kept").value == 2


def test_a_forked_process_starts_guests_of_its_own(run: Run, guest: ProcessGuest) -> None:
    run("kept = 1")
    assert in_a_fork(lambda: (guest.reset(), run("6 * 7").value)) == "(None, 42)"
    assert run("kept").value == 1


def test_a_value_that_the_guest_has_no_memory_for_is_refused_to_the_caller(
    run: Run, guest: ProcessGuest
) -> None:
    run("1", Limits(memory_mb=8, timeout_s=20))
    with pytest.raises(GuestError, match=r"MemoryError|GuestDiedError"):
        guest.assign("big", b"x" * (9 << 20))


def test_two_guests_do_not_see_each_other(guest: ProcessGuest, run: Run) -> None:
    other = ProcessGuest()
    try:
        run("import builtins, os\nbuiltins.mark = 1\nopen('note', 'w').write('x')")
        seen = other.run(
            "import builtins, os\nhasattr(builtins, 'mark'), os.listdir('.')",
            inputs={},
            limits=QUICK,
            host=Host(),
        )
        assert seen.value == (False, [])
    finally:
        other.close()


def test_its_isolation_is_told(guest: ProcessGuest) -> None:
    assert "under bubblewrap with process, mount, network" in guest.isolation
    assert "what it does not keep: it shares this machine's kernel" in guest.isolation
