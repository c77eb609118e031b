"""A worker executes steps that the leader sends it, each at most once, and says that it lives."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httpx

from fleet.server import Handler, Reply, Request
from fleet.tools import REGISTRY


class Worker:
    """Runs tools.

    :param concurrency: how many steps run at once; the others wait.
    :param timeout: seconds a step may take.
    """

    def __init__(self, name: str, *, concurrency: int = 4, timeout: float = 30.0) -> None:
        self.name = name
        self.executed = 0
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout = timeout
        self._token = 0
        self._steps: dict[str, asyncio.Task[str]] = {}

    @property
    def routes(self) -> dict[str, Handler]:
        return {"POST /steps": self.handle_step, "GET /health": self.handle_health}

    async def handle_step(self, request: Request) -> Reply:
        """Execute ``{"id", "token", "tool", "argument"}``; a repeated id gets the first result."""
        body = request.body
        token = int(body["token"])
        if token < self._token:
            return HTTPStatus.CONFLICT, {"error": f"token {token} is older than {self._token}"}
        self._token = token
        name = body["tool"]
        if name not in REGISTRY:
            return HTTPStatus.NOT_FOUND, {"error": f"there is no tool {name}"}
        step_id, argument = body["id"], body["argument"]
        if step_id not in self._steps:
            self._steps[step_id] = asyncio.create_task(self._execute(name, argument))
        try:
            result = await asyncio.shield(self._steps[step_id])
        except Exception as error:  # a tool may raise anything; the leader is told what
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": f"{type(error).__name__}: {error}"}
        return HTTPStatus.OK, {"result": result, "worker": self.name}

    async def handle_health(self, _: Request) -> Reply:
        return HTTPStatus.OK, {"name": self.name, "executed": self.executed, "token": self._token}

    async def _execute(self, name: str, argument: str) -> str:
        async with self._slots, asyncio.timeout(self._timeout):
            result = await asyncio.to_thread(REGISTRY[name].run, argument)
        self.executed += 1
        return result

    async def report(
        self, client: httpx.AsyncClient, own_url: str, coordinators: list[str], every: float = 1.0
    ) -> None:
        """Tell every coordinator, again and again, that this worker can be reached."""
        while True:
            for url in coordinators:
                try:
                    await client.post(
                        f"{url}/workers", json={"name": self.name, "url": own_url}, timeout=every
                    )
                except httpx.HTTPError:
                    continue  # it is told again at the next round
            await asyncio.sleep(every)
