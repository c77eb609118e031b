"""Laws: a contract that any server of a model API can be put to, ours or a real one, by its URL.

A law is a sentence of the API's documentation that a few plain HTTP requests can decide. What a
server did not come to (it has no tools, say) is unknown, and never a pass.

>>> from windtunnel.models import serve
>>> from windtunnel.models.laws import check
>>> with serve(("ollama",)) as server:
...     {finding.verdict.value for finding in check(server.url, "ollama", laws=["version", "head"])}
{'pass'}
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Collection, Iterator
from typing import Any

from windtunnel.core.errors import ResourceError, UsageError
from windtunnel.core.verdict import Verdict
from windtunnel.models.laws.book import Law
from windtunnel.models.laws.peer import BrokenError, NotExercisedError, Peer

DIALECTS = ("ollama", "openai", "anthropic", "gemini")
"""The APIs that have laws."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a law came to.

    :param reason: what was found where it failed, or why it is unknown; empty for a pass.
    """

    law: Law
    verdict: Verdict
    reason: str = ""

    def as_json(self) -> dict[str, str]:
        """The finding in plain words."""
        law = self.law
        return {
            "dialect": law.dialect,
            "law": law.name,
            "says": law.says,
            "source": law.source,
            "verdict": self.verdict.value,
            "reason": self.reason,
        }


def laws_of(dialect: str) -> tuple[Law, ...]:
    """All laws of an API, in the order in which they are checked.

    :raises UsageError: where there is no such API.
    """
    return tuple(_room(dialect).BOOK.laws)


def spoken(url: str, *, key: str | None = None) -> tuple[str, ...]:
    """The APIs that the server at a URL answers in, by asking for what each alone has.

    The parts of other APIs that Ollama has besides its own are not counted: they are no whole ones,
    and are checked where they are named.

    :raises UsageError: where the URL is none.
    :raises ResourceError: where no server answers, or in none of them.
    """
    found: list[str] = []
    locked = False
    for dialect in DIALECTS:
        peer = _peer(url, dialect, key, 10.0)
        if not found:
            peer.reach()
        method, path, body = _ASKED[dialect]
        try:
            answer = peer.ask(method, path, body)
        except BrokenError:
            continue
        locked = locked or answer.status in (401, 403)
        known = answer.status not in (401, 403, 404, 405, 501) and b"{" in answer.body[:1]
        if known and ("ollama" not in found or not _of_ollama(peer)):
            found.append(dialect)
    if not found:
        raise ResourceError(
            "the server answers in no API that has laws",
            found=url,
            fix="give the right key: --key KEY"
            if locked
            else f"say which it is meant to speak: --dialect {'|'.join(DIALECTS)}",
        )
    return tuple(found)


def _of_ollama(peer: Peer) -> bool:
    """Whether what is below /v1 is Ollama's: its router answers an unknown path in plain text."""
    return peer.ask("GET", "/v1/windtunnel-no-such-path").kind == "text/plain"


_ASKED: dict[str, tuple[str, str, Any]] = {
    "ollama": ("GET", "/api/version", None),
    "openai": ("POST", "/v1/chat/completions", {}),
    "anthropic": ("POST", "/v1/messages", {}),
    "gemini": ("GET", "/v1beta/models", None),
}


def check(
    url: str,
    dialect: str,
    *,
    model: str = "",
    key: str | None = None,
    laws: Collection[str] | None = None,
    timeout_s: float = 60.0,
) -> Iterator[Finding]:
    """Put the server at a URL to the laws of an API, one after the other.

    :param url: ``http://host:port``, with or without the API's ``/v1``.
    :param model: the model to ask; one of the server's list by default.
    :param key: the key to present.
    :param laws: the names of those to check; None for all.
    :param timeout_s: seconds that one answer may take.
    :raises UsageError: where there is no such API, or the URL is none.
    :raises ResourceError: where no server answers at the URL.
    """
    room, peer = _room(dialect), _peer(url, dialect, key, timeout_s)
    peer.reach()
    peer.model = model
    try:
        room.choose(peer)
    except BrokenError:
        peer.model = model or "default"  # its list of models is a law, which will say so
    peer.embedder = peer.embedder or peer.model
    for law in laws_of(dialect):
        if laws is None or law.name in laws:
            yield _judged(law, peer)


def _judged(law: Law, peer: Peer) -> Finding:
    try:
        law.check(peer)
    except BrokenError as error:
        return Finding(law, Verdict.FAIL, str(error))
    except NotExercisedError as error:
        return Finding(law, Verdict.UNKNOWN, str(error))
    except (AttributeError, TypeError, KeyError) as error:  # JSON of quite another shape
        return Finding(law, Verdict.FAIL, f"an answer is of another shape: {error}")
    return Finding(law, Verdict.PASS)


def _room(dialect: str) -> Any:
    if dialect not in DIALECTS:
        raise UsageError(
            "there is no such dialect", found=repr(dialect), fix=f"use {', '.join(DIALECTS)}"
        )
    return importlib.import_module(f"{__name__}.{dialect}")


def _peer(url: str, dialect: str, key: str | None, timeout_s: float) -> Peer:
    if dialect == "anthropic":
        headers = {"anthropic-version": "2023-06-01"}
        return Peer(url, key, "", "", timeout_s, headers, lambda key: {"x-api-key": key})
    if dialect == "gemini":
        return Peer(url, key, "", "", timeout_s, {}, lambda key: {"x-goog-api-key": key})
    return Peer(url, key, timeout_s=timeout_s)


__all__ = ["DIALECTS", "Finding", "Law", "check", "laws_of", "spoken"]
