"""Timeouts: work that does not end when its time is over, or goes on when it has ended."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family

FAMILY = Family(
    "timeouts",
    "work goes on when its time is over",
    {"python": "x = [i for i in range(1000)]\ntick()\ntell(len(x) == 1000 and 'done')"},
)
_SHORT_S = 0.2


def _add(
    id: str,
    why: str,
    python: str,
    *,
    source: str = sources.CWE_400,
    aims: Canary = Canary.WORKING,
    timeout_s: float = _SHORT_S,
    subset: str = "",
    starlark: str = "",
) -> None:
    FAMILY.code(
        id, why, source, python, aims=aims, timeout_s=timeout_s, subset=subset, starlark=starlark
    )


_add("loop-empty", "a loop never ends, and a thread cannot be ended from outside", """
    tried()
    while True:
        pass
""", source=sources.PYSANDBOX, starlark="""
    def spin():
        for i in range(2000000000):
            pass
    tried()
    spin()
""")  # fmt: skip
_add("loop-catching", "the exception that is to end it is caught", """
    tried()
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
""", source=sources.PYSANDBOX, subset="""
    tried()
    while True:
        try:
            while True:
                pass
        except Exception:
            pass
""")  # fmt: skip
_add("loop-finally", "it goes on while it is cleaned up", """
    tried()
    try:
        while True:
            pass
    finally:
        while True:
            pass
""", source=sources.PYSANDBOX)  # fmt: skip
_add("loop-calling", "it calls the host at every turn, and ignores what the host says", """
    tried()
    while True:
        try:
            tick()
        except BaseException:
            pass
""", subset="""
    tried()
    while True:
        try:
            tick()
        except Exception:
            pass
""", starlark="""
    def spin():
        for i in range(2000000000):
            tick()
    tried()
    spin()
""")  # fmt: skip
_add("loop-recursive", "functions call each other without ever being deep", """
    def f(n):
        return 1 if n == 0 else f(n - 1) + f(n - 1)
    tried()
    f(80)
""", source=sources.CWE_674, starlark="""
    def spin():
        return [i for i in range(60000) for j in range(60000) if i < 0]
    tried()
    spin()
""")  # fmt: skip
_add("loop-asynchronous", "tasks of a loop of its own take turns for ever", """
    import asyncio
    async def spin():
        while True:
            await asyncio.sleep(0)
    tried()
    asyncio.run(spin())
""")  # fmt: skip
_add("native-sum", "one call of compiled code runs for days, and asks nobody in between", """
    tried()
    sum(range(10 ** 13))
""", source=sources.PYSANDBOX, aims=Canary.LATE, starlark="""
    tried()
    [i for i in range(2000000000) if i < 0]
""")  # fmt: skip
_add("native-membership", "so does a search through a range of values that compare", """
    tried()
    -1.5 in range(10 ** 13)
""", source=sources.PYSANDBOX, aims=Canary.LATE, starlark="""
    tried()
    all(range(1, 2000000000))
""")  # fmt: skip
_add("native-power", "a power of ten characters takes hours and all memory", """
    tried()
    9 ** 9 ** 9
""", source=sources.PY_INT, aims=Canary.LATE, starlark="""
    def work():
        x = 3
        for i in range(40):
            x = x * x
        return x
    tried()
    work()
""")  # fmt: skip
_add("native-regex", "a pattern backtracks exponentially", """
    import re
    tried()
    re.match("(a|a)*$", "a" * 40 + "b")
""", source=sources.REDOS, aims=Canary.LATE)  # fmt: skip
_add("sleep", "a sleep takes no processor time, and a limit of that does not end it", """
    import time
    tried()
    time.sleep(30)
""", aims=Canary.LATE)  # fmt: skip
_add("signal-ignored", "the alarm that is to end it is ignored", """
    tried()
    import signal
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass
""", source="signal(7): dispositions belong to the process", aims=Canary.LATE)  # fmt: skip
_add("thread-left", "a thread works on when the code has ended", """
    tried()
    import threading
    def spin():
        while True:
            pass
    threading.Thread(target=spin, daemon=True).start()
""", timeout_s=2.0)  # fmt: skip
_add("thread-calling", "a thread calls the host when the code has ended", """
    tried()
    import threading, time
    def call():
        while True:
            tick()
            time.sleep(0.01)
    threading.Thread(target=call, daemon=True).start()
""", timeout_s=2.0)  # fmt: skip
_add("process-left", "a process runs on when the code has ended", """
    tried()
    import multiprocessing.util as u
    begun, its_end = u.os.pipe()  # which is closed when the program is there
    u.os.spawnv(u.os.P_NOWAIT, "/bin/sleep", ["sleep", marker])
    u.os.close(its_end)
    u.os.read(begun, 1)
""", aims=Canary.PROCESS, timeout_s=2.0)  # fmt: skip
_add("process-daemon", "a process in a session of its own is not in the group that is ended", """
    tried()
    import multiprocessing.util as u
    begun, its_end = u.os.pipe()  # which is closed when the program is there
    pid = u.os.fork()
    if pid == 0:
        u.os.setsid()
        if u.os.fork() == 0:
            u.os.execv("/bin/sleep", ["sleep", marker])
        u.os._exit(0)
    u.os.waitpid(pid, 0)
    u.os.close(its_end)
    u.os.read(begun, 1)
""", aims=Canary.PROCESS, source="daemon(7)", timeout_s=2.0)  # fmt: skip

__all__ = ["FAMILY"]
