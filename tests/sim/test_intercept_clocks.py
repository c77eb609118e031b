"""The clocks inside a simulated step are the node's, by whatever name they are reached."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import sys
import threading
import time
from datetime import datetime
from time import monotonic, perf_counter, time_ns
from typing import Any

import pydantic
import pytest
import worlds

from windtunnel.core import REAL_CLOCK, WORLD_CLOCK
from windtunnel.sim import BlockingCallError, World

# Bound before any world was there.
now = datetime.now
EPOCH = 1_704_067_200.0


def stamp(at: Any = time.time) -> float:
    return at()


@dataclasses.dataclass
class Record:
    made: float = dataclasses.field(default_factory=time.time)
    day: datetime = dataclasses.field(default_factory=datetime.utcnow)


class Moment(datetime):
    pass


pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")


def in_world(function: Any, **config: Any) -> Any:
    async def main(_world: World) -> Any:
        return function()

    return worlds.run(main, **config)


@pytest.mark.parametrize(
    ("ask", "shown"),
    [
        (lambda: time.time(), EPOCH),
        (lambda: time_ns(), int(EPOCH) * 10**9),
        (lambda: monotonic(), 1000.0),
        (lambda: time.monotonic_ns(), 10**12),
        (lambda: perf_counter(), 1000.0),
        (lambda: time.perf_counter_ns(), 10**12),
        (lambda: time.process_time(), 1000.0),
        (lambda: time.process_time_ns(), 10**12),
        (lambda: time.thread_time(), 1000.0),
        (lambda: time.thread_time_ns(), 10**12),
        (lambda: time.clock_gettime(time.CLOCK_REALTIME), EPOCH),
        (lambda: time.clock_gettime(time.CLOCK_MONOTONIC), 1000.0),
        (lambda: time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID), 10**12),
        (lambda: time.clock_getres(time.CLOCK_MONOTONIC), 1e-9),
        (lambda: time.gmtime()[:6], (2024, 1, 1, 0, 0, 0)),
        (lambda: time.localtime()[:6], (2024, 1, 1, 0, 0, 0)),
        (lambda: time.localtime(None)[:6], (2024, 1, 1, 0, 0, 0)),
        (lambda: time.ctime(), "Mon Jan  1 00:00:00 2024"),
        (lambda: time.asctime(), "Mon Jan  1 00:00:00 2024"),
        (lambda: time.strftime("%Y-%m-%d %H:%M:%S"), "2024-01-01 00:00:00"),
        (lambda: datetime.now(), datetime(2024, 1, 1)),
        (lambda: datetime.now(dt.UTC), datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (lambda: datetime.now(tz=dt.UTC), datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (lambda: datetime.utcnow(), datetime(2024, 1, 1)),
        (lambda: datetime.today(), datetime(2024, 1, 1)),
        (lambda: dt.date.today(), dt.date(2024, 1, 1)),
        (lambda: now(), datetime(2024, 1, 1)),
        (lambda: stamp(), EPOCH),
        (lambda: Record(), Record(EPOCH, datetime(2024, 1, 1))),
    ],
)
def test_each_clock_shows_the_worlds_time(ask: Any, shown: Any) -> None:
    assert in_world(ask, step_ns=1) == shown


def test_what_is_given_a_time_uses_that_time() -> None:
    def ask() -> list[Any]:
        noon = time.gmtime(43_200)
        return [
            time.gmtime(0)[:3],
            time.localtime(86_400)[:3],
            time.ctime(0),
            time.asctime(noon),
            time.strftime("%H", noon),
            datetime.fromtimestamp(0, dt.UTC).year,
        ]

    assert in_world(ask) == [
        (1970, 1, 1),
        (1970, 1, 2),
        "Thu Jan  1 00:00:00 1970",
        "Thu Jan  1 12:00:00 1970",
        "12",
        1970,
    ]


def test_time_passes_as_the_world_sleeps_and_never_faster() -> None:
    async def main(_world: World) -> tuple[float, float, dt.timedelta]:
        began = time.time(), monotonic(), datetime.now()
        await asyncio.sleep(3600)
        return time.time() - began[0], monotonic() - began[1], datetime.now() - began[2]

    wall, mono, moved = worlds.run(main)
    assert wall == pytest.approx(3600, abs=0.01)
    assert mono == pytest.approx(3600, abs=0.01)
    assert moved.total_seconds() == pytest.approx(3600, abs=0.01)


def test_each_node_has_its_own_clock() -> None:
    async def main(world: World) -> tuple[float, datetime, float]:
        async def ask() -> tuple[float, datetime, float]:
            return time.time(), datetime.now(), monotonic()

        ahead = world.add_node("ahead", offset_s=60)
        wall, day, mono = await ahead.run(ask())
        return wall - time.time(), day, mono - monotonic()

    difference, day, mono = worlds.run(main)
    assert difference == pytest.approx(60, abs=0.1)
    assert day.replace(microsecond=0) == datetime(2024, 1, 1, 0, 1)
    assert mono == pytest.approx(0, abs=0.1)


def test_a_clock_that_jumps_moves_the_wall_and_not_the_monotonic_clock() -> None:
    async def main(world: World) -> tuple[float, float, int]:
        wall, mono = time.time(), monotonic()
        world.node.clock.jump(-86_400)
        return time.time() - wall, monotonic() - mono, datetime.now().year

    wall, mono, year = worlds.run(main)
    assert (wall, mono, year) == (-86_400, 0, 2023)


def test_datetime_keeps_its_exact_type_and_subclasses_theirs() -> None:
    def ask() -> list[type]:
        zone = dt.timezone(dt.timedelta(hours=2))
        return [
            type(made)
            for made in (
                datetime.now(), datetime.now(zone), datetime.utcnow(), Moment.now(),
                Moment.now(zone), Moment.utcnow(), Moment.today(),
            )
        ]  # fmt: skip

    assert in_world(ask) == [datetime] * 3 + [Moment] * 4


def test_the_time_zone_is_a_parameter_of_the_world() -> None:
    def ask() -> tuple[Any, ...]:
        return (
            datetime.now().hour,
            time.localtime().tm_hour,
            time.strftime("%Z"),
            datetime(2024, 7, 1, 12, tzinfo=dt.UTC).astimezone().hour,
            datetime.now(dt.UTC).hour,
        )

    before = time.tzname
    assert in_world(ask, timezone="Europe/Vienna") == (1, 1, "CET", 14, 0)
    assert in_world(ask, timezone="UTC") == (0, 0, "UTC", 12, 0)
    assert time.tzname == before


def test_time_sleep_in_a_coroutine_is_an_error_that_says_what_to_use() -> None:
    async def main(_world: World) -> None:
        time.sleep(0.5)

    with pytest.raises(BlockingCallError) as caught:
        worlds.run(main)
    said = str(caught.value)
    assert "await asyncio.sleep(0.5)" in said
    assert "test_intercept_clocks.py" in said


def test_time_sleep_in_a_function_for_a_thread_takes_virtual_time() -> None:
    async def main(_world: World) -> float:
        began = monotonic()
        await asyncio.to_thread(time.sleep, 90)
        return monotonic() - began

    assert worlds.run(main) == pytest.approx(90, abs=1)


def test_the_world_clock_is_the_node_s_in_a_step_and_the_machine_s_elsewhere() -> None:
    async def main(world: World) -> None:
        world.node.clock.jump(3600)
        await asyncio.sleep(5)
        assert WORLD_CLOCK.time() == time.time() == pytest.approx(EPOCH + 3605, abs=1)
        assert WORLD_CLOCK.monotonic() == monotonic()

    worlds.run(main)
    assert abs(WORLD_CLOCK.time() - time.time()) < 60
    assert abs(WORLD_CLOCK.monotonic() - REAL_CLOCK.monotonic()) < 60


def test_other_threads_keep_the_real_clock() -> None:
    seen: list[float] = []
    go, done = threading.Event(), threading.Event()

    def look() -> None:
        go.wait(10)
        seen.extend((time.time(), datetime.now().timestamp(), datetime.utcnow().timestamp()))
        seen.extend((time.mktime(time.localtime()), WORLD_CLOCK.time()))
        done.set()

    thread = threading.Thread(target=look)
    thread.start()

    async def main(_world: World) -> float:
        go.set()
        while not done.is_set():
            await asyncio.sleep(1)
        return time.time()

    inside = worlds.run(main)
    thread.join(10)
    assert len(seen) == 5
    assert all(abs(each - time.time()) < 60 for each in seen)
    assert inside < EPOCH + 10**9


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: datetime.now("here"), TypeError, "tzinfo argument must be None"),
        (lambda: datetime.now(None, None), TypeError, "argument"),
        (lambda: datetime.now(zone=1), TypeError, "zone|argument"),
        (lambda: time.localtime("x"), TypeError, "str"),
        (lambda: time.time(1), TypeError, "takes no arguments"),
        (lambda: time.clock_gettime(-77), OSError, "Invalid"),
        (lambda: time.sleep("long"), BlockingCallError, "long"),
        (lambda: time.strftime(), TypeError, "argument"),
    ],
)
def test_a_wrong_call_raises_in_a_step_too(call: Any, error: type[Exception], words: str) -> None:
    async def main(_world: World) -> None:
        for _ in range(3):
            with pytest.raises(error, match=words):
                call()
        # The world goes on as if nothing had happened.
        assert datetime.now().year == 2024

    worlds.run(main)


def test_an_exception_of_the_users_time_zone_is_raised_as_it_is() -> None:
    class Lost(dt.tzinfo):
        def utcoffset(self, _when: Any) -> dt.timedelta:
            raise LookupError("no such place")

        def fromutc(self, _when: Any) -> datetime:
            raise LookupError("no such place")

    async def main(_world: World) -> None:
        with pytest.raises(LookupError, match="no such place"):
            datetime.now(Lost())

    worlds.run(main)


def test_specialised_calls_follow_into_the_world_and_out_again() -> None:
    def hot() -> list[float]:
        return [time.time() for _ in range(2000)]

    async def main(_world: World) -> list[float]:
        return hot()

    hot()
    inside = worlds.run(main)
    assert set(inside) == {inside[0]}
    assert inside[0] == pytest.approx(EPOCH, abs=1)
    outside = hot()
    assert outside[0] > EPOCH + 10**7
    assert len(set(outside)) > 1


def test_pydantic_factories_are_caught() -> None:
    class Event(pydantic.BaseModel):
        at: float = pydantic.Field(default_factory=time.time)
        day: datetime = pydantic.Field(default_factory=datetime.now)

    made = in_world(Event)
    assert made.at == pytest.approx(EPOCH, abs=1)
    assert made.day.year == 2024
    assert Event().at > EPOCH + 10**7


def test_references_are_neither_lost_nor_leaked() -> None:
    async def main(_world: World) -> tuple[int, int]:
        kept = [datetime.now() for _ in range(100)]
        counts = {sys.getrefcount(each) for each in kept}
        return min(counts), max(counts)

    # The list, the loop's variable and the argument.
    assert worlds.run(main) == (3, 3)


def test_the_clock_of_the_house_stays_the_machines() -> None:
    async def main(world: World) -> tuple[float, float]:
        real, virtual = REAL_CLOCK.monotonic(), time.monotonic()
        await asyncio.sleep(3600)
        return REAL_CLOCK.monotonic() - real, time.monotonic() - virtual

    real, virtual = worlds.run(main)
    assert virtual >= 3600 > real
