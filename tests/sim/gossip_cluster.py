"""A whole system of real libraries: replicated stores that gossip over websockets.

Each member keeps a map with last-writer-wins entries. It serves HTTP with aiohttp (PUT and GET of
keys, /members), and exchanges digests and news with its peers over websockets. Events are
dataclasses that take their time from ``time.time``, bound when the module is imported, as whole
code bases do it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import logging
import random
import time
import uuid
from collections.abc import Callable
from time import monotonic
from time import time as now
from typing import Any

import websockets
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

log = logging.getLogger("gossip")
GOSSIP, HTTP = 7000, 8080


@dataclasses.dataclass(order=True)
class Stamp:
    at: float = dataclasses.field(default_factory=time.time)
    by: str = ""


@dataclasses.dataclass
class Entry:
    value: str
    stamp: Stamp
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))


@dataclasses.dataclass
class Member:
    name: str
    seen: float = dataclasses.field(default_factory=monotonic)
    since: datetime.datetime = dataclasses.field(default_factory=datetime.datetime.now)


def _event(number: int) -> type:
    return dataclasses.make_dataclass(
        f"Event{number}",
        [("at", float, dataclasses.field(default_factory=time.time)), ("what", str, "")],
    )


EVENTS = [_event(number) for number in range(300)]
"""Kinds of events, as many as a large code base has."""


def age(stamp: Stamp, clock: Callable[[], float] = time.time, *, late: float = now()) -> float:
    """Seconds since a stamp; the clock is bound as a default argument."""
    return clock() - stamp.at


class Store:
    """One member of the cluster."""

    def __init__(self, name: str, peers: list[str]) -> None:
        self.name = name
        self.peers = peers
        self.entries: dict[str, Entry] = {}
        self.members: dict[str, Member] = {}
        self.sockets: set[ServerConnection | ClientConnection] = set()
        self.events: list[Any] = []

    async def main(self) -> None:
        app = web.Application()
        app.router.add_put("/keys/{key}", self.put)
        app.router.add_get("/keys/{key}", self.get)
        app.router.add_get("/members", self.list_members)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, port=HTTP).start()
        async with (
            serve(self.hear, "0.0.0.0", GOSSIP, ping_interval=2, ping_timeout=2),
            asyncio.TaskGroup() as group,
        ):
            for peer in self.peers:
                group.create_task(self.keep_connected(peer))
            group.create_task(self.gossip())

    # HTTP.

    async def put(self, request: web.Request) -> web.Response:
        key, value = request.match_info["key"], await request.text()
        entry = Entry(value, Stamp(by=self.name))
        self.take(key, entry)
        await asyncio.gather(*(self.send(each, "news", {key: entry}) for each in self.sockets))
        return web.json_response(dataclasses.asdict(entry))

    async def get(self, request: web.Request) -> web.Response:
        entry = self.entries.get(request.match_info["key"])
        if entry is None:
            raise web.HTTPNotFound
        return web.json_response(dataclasses.asdict(entry))

    async def list_members(self, request: web.Request) -> web.Response:
        fresh = [m.name for m in self.members.values() if monotonic() - m.seen < 5]
        return web.json_response(sorted([self.name, *fresh]))

    # Gossip.

    async def keep_connected(self, peer: str) -> None:
        while True:
            try:
                async with connect(
                    f"ws://{peer}:{GOSSIP}", open_timeout=2, ping_interval=2, ping_timeout=2
                ) as socket:
                    await self.hear(socket)
            except (OSError, TimeoutError, websockets.WebSocketException) as error:
                log.info("%s: no connection to %s: %r", self.name, peer, error)
            await asyncio.sleep(random.uniform(0.2, 1.0))

    async def hear(self, socket: ServerConnection | ClientConnection) -> None:
        self.sockets.add(socket)
        try:
            async for text in socket:
                message = json.loads(text)
                name = message["from"]
                self.members[name] = Member(name)
                await getattr(self, "on_" + message["kind"])(socket, message["entries"])
        except websockets.ConnectionClosedError:
            pass
        finally:
            self.sockets.discard(socket)

    async def gossip(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.3, 0.7))
            for socket in random.sample(
                sorted(self.sockets, key=lambda s: s.id), len(self.sockets)
            ):
                await self.send(socket, "digest", self.entries)

    async def send(self, socket: Any, kind: str, entries: dict[str, Entry]) -> None:
        self.events.append(random.choice(EVENTS)(what=kind))
        plain = {key: dataclasses.asdict(entry) for key, entry in entries.items()}
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send(json.dumps({"from": self.name, "kind": kind, "entries": plain}))

    async def on_digest(self, socket: Any, theirs: dict[str, Any]) -> None:
        news = {}
        for key, entry in self.entries.items():
            if key not in theirs or Stamp(**theirs[key]["stamp"]) < entry.stamp:
                news[key] = entry
        await self.on_news(socket, theirs)
        if news:
            await self.send(socket, "news", news)

    async def on_news(self, socket: Any, entries: dict[str, Any]) -> None:
        for key, plain in entries.items():
            self.take(key, Entry(plain["value"], Stamp(**plain["stamp"]), plain["id"]))

    def take(self, key: str, entry: Entry) -> None:
        known = self.entries.get(key)
        if known is None or known.stamp < entry.stamp:
            self.entries[key] = entry


async def member(name: str, peers: list[str], stores: dict[str, Store] | None = None) -> None:
    """One process of the cluster."""
    store = Store(name, peers)
    if stores is not None:
        stores[name] = store
    await store.main()
