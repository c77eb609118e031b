"""A coordinator competes for the lease; the one that holds it plans jobs and hands out steps."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import random
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus

import httpx

from fleet.lease import Lease, LeaseStore, StoreUnreachableError
from fleet.planner import Planner, PlanningError, Step
from fleet.server import Handler, Reply, Request

log = logging.getLogger(__name__)

# A leader trusts its lease for this share of its time only: its clock may be slower than the
# store's.
CAUTION = 0.9


@dataclasses.dataclass(slots=True)
class Job:
    """A goal and how far it has come: ``queued``, ``running``, ``done`` or ``failed``."""

    id: str
    goal: str
    state: str = "queued"
    results: list[str] = dataclasses.field(default_factory=list)
    error: str = ""


class StepFailedError(Exception):
    """No worker could execute a step."""


class LeadershipLostError(Exception):
    """A worker has seen a newer leader than us."""


class Coordinator:
    """Takes jobs while it leads.

    :param ttl: seconds for which a lease holds, and after which a silent worker is forgotten.
    :param clock: seconds, never going backwards.
    """

    def __init__(
        self,
        name: str,
        store: LeaseStore,
        planner: Planner,
        http: httpx.AsyncClient,
        *,
        ttl: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.leading = asyncio.Event()
        self.jobs: dict[str, Job] = {}
        self._store = store
        self._planner = planner
        self._http = http
        self._ttl = ttl
        self._clock = clock
        self._lease: Lease | None = None
        self._until = 0.0
        self._queue = asyncio.Queue[Job]()
        self._workers: dict[str, tuple[str, float]] = {}
        self._turn = itertools.count()

    @property
    def routes(self) -> dict[str, Handler]:
        return {
            "POST /jobs": self.handle_submit,
            "GET /jobs/*": self.handle_show,
            "POST /workers": self.handle_worker,
            "GET /leader": self.handle_leader,
        }

    @property
    def leads(self) -> bool:
        """Whether it holds the lease, and certainly still does."""
        return self._lease is not None and self._clock() < self._until

    async def run(self) -> None:
        """Compete for the lease and, while leading, work through the jobs. Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._compete())
            group.create_task(self._work())

    async def handle_submit(self, request: Request) -> Reply:
        if not self.leads:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"{self.name} does not lead"}
        job = Job(uuid.uuid4().hex, request.body["goal"])
        self.jobs[job.id] = job
        self._queue.put_nowait(job)
        return HTTPStatus.ACCEPTED, {"id": job.id}

    async def handle_show(self, request: Request) -> Reply:
        job = self.jobs.get(request.tail)
        if job is None:
            return HTTPStatus.NOT_FOUND, {"error": f"there is no job {request.tail}"}
        return HTTPStatus.OK, dataclasses.asdict(job)

    async def handle_worker(self, request: Request) -> Reply:
        self._workers[request.body["name"]] = (request.body["url"], self._clock() + self._ttl)
        return HTTPStatus.OK, {}

    async def handle_leader(self, _: Request) -> Reply:
        token = self._lease.token if self._lease and self.leads else None
        return HTTPStatus.OK, {"name": self.name, "leading": token is not None, "token": token}

    def workers(self) -> list[str]:
        """URLs of the workers that were heard of within ``ttl`` seconds."""
        return [url for url, until in self._workers.values() if self._clock() < until]

    async def _compete(self) -> None:
        while True:
            # A random delay first, so that candidates started together do not stay in step.
            await asyncio.sleep(random.uniform(0, self._ttl / 5))
            asked = self._clock()
            try:
                self._lease = await self._store.acquire("leader", self.name, self._ttl)
            except StoreUnreachableError:
                self._lease = None
            if self._lease is None:
                await asyncio.sleep(self._ttl / 3)
                continue
            # The lease began when the store heard of us, which is not before we asked.
            self._until = asked + self._ttl * CAUTION
            self.leading.set()
            log.info("%s leads under token %d", self.name, self._lease.token)
            try:
                await self._stay()
            finally:
                await self._step_down()

    async def _stay(self) -> None:
        """Renew the lease until it is somebody else's, or may be without our knowing."""
        while (lease := self._lease) is not None:
            asked = self._clock()
            try:
                async with asyncio.timeout(self._until - asked):
                    if not await self._store.renew(lease, self._ttl):
                        return
                self._until = asked + self._ttl * CAUTION
            except (StoreUnreachableError, TimeoutError):
                if not self.leads:
                    return
            await asyncio.sleep(self._ttl / 3)

    async def _step_down(self) -> None:
        self.leading.clear()
        lease, self._lease = self._lease, None
        if lease is not None:
            log.info("%s steps down from token %d", self.name, lease.token)
            with contextlib.suppress(StoreUnreachableError):
                await self._store.release(lease)

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            await self.leading.wait()
            job.state, job.results = "running", []
            try:
                await self._finish(job)
                job.state = "done"
            except LeadershipLostError:
                await self._step_down()
                job.state = "queued"
                self._queue.put_nowait(job)
            except (PlanningError, StepFailedError, httpx.HTTPError) as error:
                job.state, job.error = "failed", str(error)

    async def _finish(self, job: Job) -> None:
        plan = await self._planner.plan(job.goal)
        previous = ""
        for number, step in enumerate(plan.steps):
            argument = step.argument.replace("{previous}", previous)
            ready = Step(tool=step.tool, argument=argument)
            previous = await self._execute(f"{job.id}/{number}", ready)
            job.results.append(previous)

    async def _execute(self, step_id: str, step: Step) -> str:
        """Have a worker execute the step; a worker that cannot be reached gives way to the next."""
        workers, problem = self.workers(), "no worker is known"
        first = next(self._turn)
        for offset in range(len(workers)):
            url = workers[(first + offset) % len(workers)]
            lease = self._lease
            if lease is None or not self.leads:
                raise LeadershipLostError
            body = {"id": step_id, "token": lease.token} | step.model_dump()
            try:
                reply = await self._http.post(f"{url}/steps", json=body)
            except httpx.TransportError as error:
                problem = f"{url}: {error!r}"
                continue
            if reply.status_code == HTTPStatus.CONFLICT:
                raise LeadershipLostError
            if reply.status_code == HTTPStatus.OK:
                return str(reply.json()["result"])
            raise StepFailedError(f"{step.tool}: {reply.json()['error']}")
        raise StepFailedError(f"{step.tool}: {problem}")
