"""Stories: what a failed run tells, and how little of it."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import worlds

from windtunnel.core import UsageError
from windtunnel.draw import cells
from windtunnel.sim import DeadlockError, World, story, trace_file
from windtunnel.sim.story_choice import MOST


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line.upper())
    writer.close()


async def serve(port: int = 7) -> None:
    server = await asyncio.start_server(answer, "0.0.0.0", port)
    try:
        await asyncio.Event().wait()  # not serve_forever: on 3.12.1 it waits for its connections
    finally:
        server.close()


async def ask(host: str, *lines: bytes, pause: float = 0.0) -> list[bytes]:
    reader, writer = await asyncio.open_connection(host, 7)
    answers = []
    for line in lines:
        writer.write(line)
        answers.append(await reader.readline())
        await asyncio.sleep(pause)
    writer.close()
    return answers


def told(main: worlds.Main[object], error: BaseException | None = None, **given: object) -> str:
    world = worlds.make(**given)
    worlds.run(main, world)
    return story.text(world, error)


def rows(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def raised(message: str = "the answers differ") -> AssertionError:
    try:
        assert message == "", message
    except AssertionError as error:
        return error
    raise RuntimeError


async def one_exchange(world: World) -> None:
    world.start("server", serve)
    await asyncio.sleep(0.1)
    await world.add_node("client").run(ask("server", b"hello\n"))


def test_a_message_is_an_arrow_between_the_lanes_of_its_nodes_with_what_it_says():
    text = told(one_exchange)
    (heading,) = rows(text, "time, s")
    server, client = heading.index("server"), heading.index("client")
    assert server < client
    (there,) = rows(text, '"hello"')
    (back,) = rows(text, '"HELLO"')
    assert server < there.index("◀") < there.index("┤") < client + 6
    assert server < back.index("├") < back.index("▶") < client + 6
    assert there.split()[0] < back.split()[0]


def test_the_violated_property_stands_at_the_end_with_its_place():
    text = told(one_exchange, raised())
    tail = text.partition("violated:")[2]
    assert "AssertionError: the answers differ" in tail
    assert "test_story.py:" in tail
    assert 'assert message == "", message' in tail


def test_the_members_of_a_group_are_told_one_by_one():
    error = ExceptionGroup("some", [raised("one thing"), ExceptionGroup("more", [raised("two")])])
    tail = told(one_exchange, error).partition("violated:")[2]
    assert "AssertionError: one thing" in tail
    assert "AssertionError: two" in tail
    assert "ExceptionGroup" not in tail


def test_a_deadlock_is_told_with_who_waits_for_what():
    async def main(world: World) -> None:
        await one_exchange(world)
        await asyncio.Event().wait()

    world = worlds.make()
    with pytest.raises(DeadlockError) as caught:
        worlds.run(main, world)
    tail = story.text(world, caught.value).partition("violated:")[2]
    assert "DeadlockError: deadlock" in tail
    assert "waits for Event.wait()" in tail


async def every_fault(world: World) -> None:
    server = world.start("server", serve)
    client = world.add_node("client")
    await asyncio.sleep(0.1)
    await client.run(ask("server", b"before\n"))
    world.partition("server", "client")
    asking = asyncio.ensure_future(client.run(ask("server", b"meanwhile\n")))
    await asyncio.sleep(1)
    world.heal()
    await asking
    client.pause()
    await asyncio.sleep(1)
    client.resume()
    server.clock.jump(-30)
    server.clock.drift_ppm = 200
    server.crash()
    await asyncio.sleep(1)
    server.restart()
    await asyncio.sleep(1)
    await server.stop()


def test_every_fault_is_told_at_its_node_and_in_order():
    text = told(every_fault)
    words = (
        "partition server | client",
        "heal",
        "is paused",
        "goes on",
        "its wall clock jumps by -30 s",
        "its clock runs 200 ppm fast",
        "crashes; its ",
        "boots again",
        "is asked to stop",
    )
    places = [text.index(word) for word in words]
    assert places == sorted(places)
    (end,) = rows(text, "at the end:")
    assert "server" in end
    assert "has booted 2 times" in end
    assert "behind" in end
    assert "200 ppm fast" in end


def test_a_node_that_is_down_has_no_line_and_one_that_is_paused_a_broken_one():
    text = told(every_fault)
    client = next(iter(rows(text, "time, s"))).index("client") + 3
    (paused,) = rows(text, "its wall clock jumps")
    assert paused[client] == "│"
    (going,) = rows(text, "goes on")
    assert going[client] == "○"

    async def told_while_paused(world: World) -> None:
        await one_exchange(world)
        world.nodes["client"].pause()
        world.nodes["server"].crash()
        await asyncio.sleep(1)
        world.note("marker", node="server")

    text = told(told_while_paused)
    (marker,) = rows(text, "marker")
    assert marker[client] == "┊"
    crash = next(iter(rows(text, "crashes")))
    assert crash.index("✗") == next(iter(rows(text, "time, s"))).index("server") + 3


def test_a_message_that_does_not_arrive_stops_short_and_says_so():
    async def main(world: World) -> None:
        world.start("server", serve)
        await asyncio.sleep(0.1)

        async def cut_off() -> None:
            reader, writer = await asyncio.open_connection("server", 7)
            world.partition("server", "client")
            writer.write(b"are you there\n")
            await asyncio.sleep(1)
            assert not reader.at_eof()

        await world.add_node("client").run(cut_off())

    (row,) = rows(told(main), "are you there")
    assert "not arrived" in row
    assert "▶" not in row
    assert "◀" not in row


def test_a_message_that_others_overtook_says_when_it_was_sent():
    async def main(world: World) -> None:
        world.start("server", serve)
        turtle = world.add_node("turtle")
        await asyncio.sleep(0.1)
        world.slow("server", "turtle", latency_s=5)
        slow = asyncio.ensure_future(turtle.run(ask("server", b"slow\n")))
        await asyncio.sleep(12)
        await world.add_node("hare").run(ask("server", b"quick\n"))
        await slow

    text = told(main)
    (slow,) = rows(text, '"slow"')
    (quick,) = rows(text, '"quick"')
    assert "(sent 10." in slow
    assert "(sent " not in quick
    assert text.index('"quick"') < text.index('"slow"')


async def much_traffic(world: World) -> None:
    world.start("server", serve)
    world.start("other", serve)
    await asyncio.sleep(0.1)
    lines = [b"count %d\n" % number for number in range(200)]
    await world.add_node("idler").run(ask("other", *lines))
    await world.add_node("client").run(ask("server", *lines))
    world.nodes["other"].crash()
    await world.nodes["client"].run(ask("server", b"last words\n"))


def test_a_long_run_is_a_short_story_that_keeps_its_end_and_its_faults():
    text = told(much_traffic)
    lines = text.splitlines()
    assert len(lines) <= MOST + 12
    assert all(cells(line) <= 100 for line in lines)
    assert "x 200, to " in "\n".join(rows(text, '"count 0"'))
    assert rows(text, "crashes")
    assert rows(text, '"last words"')


def test_who_is_concerned_is_told_of_more_than_the_others():
    async def main(world: World) -> None:
        names = [f"n{number}" for number in range(6)]
        for name in names:
            world.start(name, serve)
        await asyncio.sleep(0.1)
        for turn in range(8):
            for asker in names:
                for asked in names:
                    if asker != asked:
                        word = "abcdefgh"[turn].encode() * (1 + names.index(asked))
                        await world.nodes[asker].run(ask(asked, word + b"\n"))

    world = worlds.make()
    worlds.run(main, world)
    text = story.text(world, raised("n3 forgot what n4 said"))
    facts = story.story(world, raised("n3 forgot what n4 said")).facts
    about = [fact for fact in facts[:-8] if {fact.node, fact.target} & {"n3", "n4"}]
    others = [fact for fact in facts[:-8] if fact.node and fact not in about]
    assert len(about) > 3 * len(others)
    assert "left out" in text
    total = sum(fact.count for fact in facts if fact.node)
    gaps = sum(int(fact.text.split()[0]) for fact in facts if not fact.node)
    assert total + gaps == sum(fact.count for fact in story.story(world, most=10**6).facts)


def test_with_many_nodes_names_take_the_place_of_lanes():
    async def main(world: World) -> None:
        world.start("server", serve)
        await asyncio.sleep(0.1)
        for number in range(20):
            await world.add_node(f"client-{number}").run(ask("server", b"%d hello\n" % number))

    text = told(main)
    assert rows(text, "client-19 -> server: ", '"19 hello"')
    assert all(cells(line) <= 100 for line in text.splitlines())


def test_binary_and_long_messages_are_told_by_their_length():
    async def main(world: World) -> None:
        world.start("server", serve)
        await asyncio.sleep(0.1)
        await world.add_node("client").run(ask("server", b"\x00\xff\n", b"y" * 600 + b"\n"))

    text = told(main)
    assert rows(text, " 3 B")
    assert rows(text, " 601 B")


def test_nothing_that_a_message_says_can_break_the_lines():
    async def main(world: World) -> None:
        world.start("server", serve)
        await asyncio.sleep(0.1)
        line = "\x1b[31mred \u202e 漢字 <b>\n".encode()
        await world.add_node("client").run(ask("server", line))

    world = worlds.make()
    worlds.run(main, world)
    text = story.text(world, raised("\x1b[31m" + "long " * 60))
    assert "\x1b" not in text
    assert all(cells(line) <= 100 for line in text.splitlines())
    ET.fromstring(story.svg(world, raised("\x1b[31m<b>&")))


def test_datagrams_are_told_with_what_became_of_them():
    async def main(world: World) -> None:
        loop = asyncio.get_running_loop()
        a, b = world.add_node("a"), world.add_node("b")

        async def listen() -> asyncio.DatagramTransport:
            kind = asyncio.DatagramProtocol
            return (await loop.create_datagram_endpoint(kind, local_addr=("0.0.0.0", 9)))[0]

        async def send(data: bytes) -> None:
            kind = asyncio.DatagramProtocol
            transport, _ = await loop.create_datagram_endpoint(kind, remote_addr=("b", 9))
            transport.sendto(data)

        listening = await b.run(listen())
        await a.run(send(b"x" * 10))
        await asyncio.sleep(1)
        world.partition("a", "b")
        await a.run(send(b"x" * 20))
        world.heal()
        world.slow("a", "b", latency_s=100)
        await a.run(send(b"x" * 30))
        await asyncio.sleep(1)
        assert not listening.is_closing()

    text = told(main)
    (arrived,) = rows(text, "datagram of 10 B")
    assert "▶" in arrived
    (lost,) = rows(text, "datagram of 20 B, lost")
    (late,) = rows(text, "datagram of 30 B, not arrived")
    assert "▶" not in lost + late


def test_what_came_after_the_end_is_not_told():
    ended: list[int] = []

    async def main(world: World) -> None:
        await one_exchange(world)
        ended.append(world.now_ns)
        world.nodes["server"].crash()
        await asyncio.sleep(1)

    world = worlds.make()
    worlds.run(main, world)
    assert rows(story.text(world), "crashes")
    text = story.text(world, at_ns=ended[0] - 1)
    assert not rows(text, "crashes")
    assert not rows(text, "at the end")
    assert rows(text, '"HELLO"')


def test_logs_and_notes_of_any_kind_are_told():
    async def main(world: World) -> None:
        await one_exchange(world)
        world.note("log", node="server", logger="shop", level="WARNING", message="stock is low")
        world.note("elected", node="client", term=3)

    text = told(main)
    assert rows(text, "WARNING shop: stock is low", "•")
    assert rows(text, "elected: term=3")


def test_a_story_in_which_nothing_happened_has_a_title_and_its_error():
    async def main(_: World) -> None:
        pass

    text = told(main, raised())
    assert text.startswith("story of seed 1: 0 nodes and the test, ")
    assert "AssertionError" in text


def test_the_same_run_tells_the_same_story_as_text_and_as_drawing():
    first, second = worlds.make(5), worlds.make(5)
    worlds.run(every_fault, first)
    worlds.run(every_fault, second)
    assert story.text(first) == story.text(second)
    assert story.svg(first) == story.svg(second)


def test_the_drawing_has_the_lanes_messages_faults_and_the_verdict():
    world = worlds.make()
    worlds.run(every_fault, world)
    drawn = ET.fromstring(story.svg(world, raised()))
    words = "\n".join(one.text or "" for one in drawn.iter() if one.tag.endswith("}text"))
    for word in ("server", "client", '"before"', "partition server | client", "crashes", "boots"):
        assert word in words
    assert "AssertionError: the answers differ" in words


# The trace file.


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_trace_file_holds_messages_notes_and_steps_in_order(tmp_path: Path):
    world = worlds.make(trace=True)
    worlds.run(every_fault, world)
    path = tmp_path / "deep" / "run.jsonl"
    trace_file.write(world, path, raised())
    first, *between, last = read(path)
    assert first["type"] == "trace"
    assert first["format"] == trace_file.FORMAT
    assert first["nodes"] == ["test", "server", "client"]
    assert last["type"] == "end"
    assert str(last["error"]).startswith("AssertionError: the answers differ")
    assert last["steps"] == len([line for line in between if line["type"] == "step"])
    times = [line["at_ns"] for line in between]
    assert times == sorted(times)
    kinds = [line["kind"] for line in between if line["type"] == "note"]
    assert {"partition", "heal", "crash", "restart", "clock"} <= set(kinds)
    messages = [line for line in between if line["type"] == "message"]
    assert {(line["source"], line["target"]) for line in messages} == {
        ("server", "client"),
        ("client", "server"),
    }


def test_without_its_steps_a_trace_says_so(tmp_path: Path):
    world = worlds.make()
    worlds.run(one_exchange, world)
    trace_file.write(world, tmp_path / "run.jsonl")
    first, *between, _ = read(tmp_path / "run.jsonl")
    assert first["steps_kept"] is False
    assert between
    assert all(line["type"] != "step" for line in between)


def test_a_trace_that_cannot_be_written_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="trace cannot be written"):
        trace_file.write(worlds.make(), tmp_path / "file" / "run.jsonl")
