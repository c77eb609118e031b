"""Host functions: guarded, and called with what was judged."""

from __future__ import annotations

import asyncio
import functools
import time
from pathlib import Path

import anyio
import pytest

from windtunnel.core import UsageError
from windtunnel.sessions import CapabilityContext, CapabilityDenied, HostFunction, host_function


@pytest.fixture
def root() -> CapabilityContext:
    return CapabilityContext("root")


def test_a_function_runs_where_the_current_context_allows_it_and_nowhere_else(root):
    calls = []
    send = HostFunction("send", calls.append, needs="mail")
    with pytest.raises(CapabilityDenied):
        send("x")
    with root.scope(), pytest.raises(CapabilityDenied):
        send("y")
    token = root.grant("mail", uses=1)
    with root.scope():
        send("z")
        with pytest.raises(CapabilityDenied):
            send("again")
    assert calls == ["z"]
    assert token.uses == 1


def test_the_function_is_called_with_the_path_that_was_judged(root, tmp_path):
    (tmp_path / "safe").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "deep").mkdir()
    (tmp_path / "safe" / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "safe" / "x").write_text("in")
    (tmp_path / "elsewhere" / "x").write_text("out")

    @host_function(needs="fs.read", operation="read", resource="path")
    def read(path):
        return Path(path).read_text()

    root.grant("fs.read", resources=f"{tmp_path}/safe/**", operations="read")
    tricky = f"{tmp_path}/safe/link/../x"
    assert Path(tricky).read_text() == "out"  # the system goes up from where the link leads
    with root.scope():
        assert read(tricky) == "in"
        assert read(path=tmp_path / "safe" / "x") == "in"
        with pytest.raises(CapabilityDenied):
            read(f"{tmp_path}/safe/../elsewhere/x")


def test_a_path_that_answers_differently_each_time_is_asked_once(root):
    class Turning:
        turns = 0

        def __fspath__(self):
            self.turns += 1
            return "/safe/x" if self.turns == 1 else "/etc/passwd"

    read = HostFunction("read", lambda path: path, needs="fs.read", resource="path")
    root.grant("fs.read", resources="/safe/**")
    with root.scope():
        assert read(Turning()) == "/safe/x"


def test_operation_resource_and_size_come_from_the_arguments(root):
    @host_function(
        needs="net", operation="send", resource=lambda given: f"{given['host']}:{given['port']}",
        size="data",
    )  # fmt: skip
    def send(host, port=443, *, data=b""):
        return host, port, bytes(data)

    root.grant("net", hosts="a.com", ports=443, operations="send", max_bytes=4)
    with root.scope():
        assert send("a.com") == ("a.com", 443, b"")
        assert send("a.com", data=b"1234") == ("a.com", 443, b"1234")
        for args, kwargs in (
            (("b.com",), {}),
            (("a.com", 80), {}),
            (("a.com",), {"data": b"12345"}),
            (("a.com",), {"data": "ééé"}),
            (("a.com",), {"data": memoryview(b"12345").cast("B")}),
            (("a.com",), {"data": object()}),
        ):
            with pytest.raises(CapabilityDenied):
                send(*args, **kwargs)


def test_a_default_resource_is_judged_too(root):
    read = HostFunction("read", lambda path="/etc/passwd": path, needs="fs.read", resource="path")
    root.grant("fs.read", resources="/safe/**")
    with root.scope(), pytest.raises(CapabilityDenied, match="/etc/passwd"):
        read()


def test_arguments_that_it_does_not_take_are_a_type_error_and_no_use(root):
    token = root.grant("mail")
    send = HostFunction("send", lambda to: to, needs="mail")
    with root.scope(), pytest.raises(TypeError):
        send("a", "b")
    assert token.uses == 0


def test_a_builtin_without_a_signature_can_be_guarded(root):
    root.grant("math", resources="x")
    largest = HostFunction("largest", max, needs="math", resource=lambda given: given["args"][0])
    with root.scope():
        assert largest("x", "a") == "x"
        with pytest.raises(CapabilityDenied):
            largest("y", "a")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("not a name", {}), ("", {}), ("class", {}), ("naïve", {}), ("a.b", {}), ("a;b", {}),
        ("f", {"needs": ""}), ("f", {"resource": "nope"}), ("f", {"size": "nope"}),
    ],
)  # fmt: skip
def test_a_host_function_that_cannot_be_meant_is_an_error(name, options):
    with pytest.raises(UsageError):
        HostFunction(name, lambda path: path, **{"needs": "fs.read", **options})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_function_is_guarded_before_it_begins(root, backend):
    began = []

    @host_function(needs="mail")
    async def send(to):
        began.append(to)
        await anyio.lowlevel.checkpoint()
        return to

    assert send.is_async

    async def main():
        with pytest.raises(CapabilityDenied):
            send("x")
        root.grant("mail", cpu_s=100)
        with root.scope():
            return await send("y")

    assert anyio.run(main, backend=backend) == "y"
    assert began == ["y"]


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Cpu:
    """The CPU time of a thread that takes as much as the test says, and none beside it."""

    def __init__(self):
        self.taken = 0.0

    def thread_time(self):
        return self.taken

    def burn(self, seconds):
        self.taken += seconds


@pytest.fixture
def cpu(monkeypatch):
    taken = Cpu()
    monkeypatch.setattr("windtunnel.sessions.hosting.time", taken)
    return taken


def test_the_cpu_that_calls_take_counts_and_ends_the_token(root, cpu):
    render = HostFunction("render", functools.partial(cpu.burn, 0.02), needs="render")
    token = root.grant("render", cpu_s=0.03)
    with root.scope():
        render()
        assert token.account.cpu_used == pytest.approx(0.02)
        render()  # begun within the bound, and goes beyond it
        with pytest.raises(CapabilityDenied, match="CPU"):
            render()


def test_a_call_that_fails_has_taken_its_cpu(root):
    def fail():
        burn(0.01)
        raise LookupError

    token = root.grant("render", cpu_s=10)
    with root.scope(), pytest.raises(LookupError):
        HostFunction("render", fail, needs="render")()
    assert token.account.cpu_used >= 0.01


def test_of_a_coroutine_its_own_steps_count_and_not_what_runs_while_it_waits(root, cpu):
    async def work():
        cpu.burn(0.01)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cpu.burn(0.01)
        return "done"

    async def other():
        cpu.burn(0.2)

    token = root.grant("render", cpu_s=10)
    render = HostFunction("render", work, needs="render")

    async def main():
        with root.scope():
            async with asyncio.TaskGroup() as group:
                own = group.create_task(_awaited(render()))
                group.create_task(other())
        return own.result()

    assert asyncio.run(main()) == "done"
    assert token.account.cpu_used == pytest.approx(0.02)


async def _awaited(awaitable):
    return await awaitable


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_metered_coroutine_is_cancelled_and_cleans_up(root, backend):
    cleaned = []

    async def work():
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)

    root.grant("render", cpu_s=10)

    async def main():
        with root.scope(), anyio.move_on_after(0.01) as gone:
            await HostFunction("render", work, needs="render")()
        return gone.cancelled_caught

    assert anyio.run(main, backend=backend)
    assert cleaned == [True]


def test_a_metered_coroutine_raises_what_it_raises_and_receives_what_is_thrown(root):
    async def work(ready):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise LookupError("told") from None

    root.grant("render", cpu_s=10)

    async def main():
        with root.scope():
            task = asyncio.create_task(_awaited(HostFunction("r", work, needs="render")(None)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(LookupError, match="told"):
            await task

    asyncio.run(main())


def test_a_metered_coroutine_that_is_closed_is_closed_within(root):
    cleaned = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    root.grant("render", cpu_s=10)

    async def main():
        with root.scope():
            call = _awaited(HostFunction("render", work, needs="render")())
        call.send(None)
        call.close()
        return list(cleaned)  # before the collector could close it

    assert asyncio.run(main()) == [True]
