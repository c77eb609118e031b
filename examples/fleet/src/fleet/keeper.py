"""A keeper of leases: for coordinators on different machines, where there is no Redis."""

from __future__ import annotations

import dataclasses
from http import HTTPStatus
from typing import Any

import httpx

from fleet.lease import Lease, MemoryLeaseStore, StoreUnreachableError
from fleet.server import Handler, Reply, Request


class Keeper:
    """Serves the leases of its memory over HTTP."""

    def __init__(self, store: MemoryLeaseStore | None = None) -> None:
        self._store = store or MemoryLeaseStore()

    @property
    def routes(self) -> dict[str, Handler]:
        return {
            "POST /acquire": self.handle_acquire,
            "POST /renew": self.handle_renew,
            "POST /release": self.handle_release,
        }

    async def handle_acquire(self, request: Request) -> Reply:
        body = request.body
        lease = await self._store.acquire(body["name"], body["holder"], float(body["ttl"]))
        return HTTPStatus.OK, {"token": lease.token if lease else None}

    async def handle_renew(self, request: Request) -> Reply:
        kept = await self._store.renew(_lease(request), float(request.body["ttl"]))
        return HTTPStatus.OK, {"kept": kept}

    async def handle_release(self, request: Request) -> Reply:
        await self._store.release(_lease(request))
        return HTTPStatus.OK, {}


def _lease(request: Request) -> Lease:
    body = request.body
    return Lease(body["name"], body["holder"], int(body["token"]))


class HttpLeaseStore:
    """Leases of a keeper at ``url``."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        token = (await self._ask("acquire", name=name, holder=holder, ttl=ttl))["token"]
        return Lease(name, holder, token) if token is not None else None

    async def renew(self, lease: Lease, ttl: float) -> bool:
        return bool((await self._ask("renew", **dataclasses.asdict(lease), ttl=ttl))["kept"])

    async def release(self, lease: Lease) -> None:
        await self._ask("release", **dataclasses.asdict(lease))

    async def _ask(self, what: str, **body: object) -> dict[str, Any]:
        try:
            reply = await self._http.post(f"{self._url}/{what}", json=body)
            return dict(reply.raise_for_status().json())
        except httpx.HTTPError as error:
            raise StoreUnreachableError(f"{self._url}: {error!r}") from error
