"""anyio, unmodified: tasks, cancellation, streams, threads, TCP, UDP."""

from __future__ import annotations

import anyio
import anyio.abc
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from library_worlds import under_seeds

from windtunnel.sim import World


async def echo() -> None:
    async def talk(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                async for data in stream:
                    await stream.send(data.upper())
            except anyio.BrokenResourceError:
                pass

    async with await anyio.create_tcp_listener(local_port=7000) as listener:
        await listener.serve(talk)


def test_tcp_streams_and_memory_streams_work() -> None:
    async def main(world: World) -> list[bytes]:
        world.start("server", echo)
        await anyio.sleep(0.1)
        send, receive = anyio.create_memory_object_stream[bytes](2)

        async def ask(number: int) -> None:
            async with await anyio.connect_tcp("server", 7000) as stream:
                lines = BufferedByteReceiveStream(stream)
                for turn in range(3):
                    await stream.send(b"hello %d %d\n" % (number, turn))
                    await send.send(await lines.receive_until(b"\n", 100))

        heard = []
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(ask, number)
            while len(heard) < 15:
                heard.append(await receive.receive())
        send.close()
        receive.close()
        return heard

    runs = under_seeds(main)
    for each in runs:
        assert sorted(each.result) == sorted(
            b"HELLO %d %d" % (number, turn) for number in range(5) for turn in range(3)
        )
    assert len({tuple(each.result) for each in runs}) > 1, "one order only"


def test_cancel_scopes_and_time_limits_work_on_virtual_time() -> None:
    async def main(world: World) -> list[str]:
        told = []

        async def worker(name: str) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                told.append(name)

        async with anyio.create_task_group() as group:
            for name in "abc":
                group.start_soon(worker, name)
            await anyio.sleep(3600)
            group.cancel_scope.cancel()
        with pytest.raises(TimeoutError), anyio.fail_after(60):
            await anyio.sleep_forever()
        with anyio.move_on_after(60) as scope:
            await anyio.sleep_forever()
        return [*sorted(told), str(scope.cancelled_caught)]

    for each in under_seeds(main):
        assert each.result == ["a", "b", "c", "True"]
        assert 3720 < each.virtual_s < 3721


def test_functions_for_worker_threads_run_as_steps() -> None:
    async def main(world: World) -> list[int]:
        def double(number: int) -> int:
            return 2 * number

        results: list[int] = []

        async def ask(number: int) -> None:
            results.append(await anyio.to_thread.run_sync(double, number))

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(ask, number)
        return results

    runs = under_seeds(main)
    for each in runs:
        assert sorted(each.result) == [2 * number for number in range(10)]
    assert len({tuple(each.result) for each in runs}) > 1, "one order only"


def test_a_cut_connection_is_a_broken_resource() -> None:
    async def main(world: World) -> str:
        world.start("server", echo)
        await anyio.sleep(0.1)
        async with await anyio.connect_tcp("server", 7000) as stream:
            await stream.send(b"a")
            await stream.receive()
            async with anyio.create_task_group() as group:

                async def cut() -> None:
                    await anyio.sleep(1)
                    world.cut("test", "server")

                group.start_soon(cut)
                with pytest.raises(anyio.BrokenResourceError):
                    await stream.receive()
        with pytest.raises(OSError):
            await anyio.connect_tcp("server", 1)
        return "done"

    under_seeds(main)


def test_datagrams_go_there_and_back() -> None:
    async def main(world: World) -> bytes:
        async def server() -> None:
            async with await anyio.create_udp_socket(local_host="0.0.0.0", local_port=5000) as udp:
                async for data, (host, port) in udp:
                    await udp.sendto(data.upper(), host, port)

        node = world.start("server", server)
        await anyio.sleep(0.1)
        host = node.addresses[0]
        async with await anyio.create_connected_udp_socket(host, 5000) as udp:
            await udp.send(b"hello")
            return await udp.receive()

    for each in under_seeds(main):
        assert each.result == b"HELLO"
