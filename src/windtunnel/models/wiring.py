"""Which addresses are answered in process, and by which server, while it is open for that.

A provider's own host names, the address a server listens on, and Ollama's usual one are known here
from when a server is *opened* until it is closed. The library patches ask on every connection, so
clients, pools and connections made earlier or kept longer see what is true now.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from windtunnel.core.errors import ResourceError
from windtunnel.own import forks

if TYPE_CHECKING:
    from windtunnel.models.core import ModelCore


class EgressError(ResourceError, ConnectionRefusedError):
    """A test tried to reach a real provider.

    It is a ``ConnectionRefusedError`` too, so that libraries treat it as they treat a network that
    does not let them out.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"a connection to the real model provider {host} was refused",
            found="a test that uses model_server",
            fix="use the server's URL, or allow the host: model_server.allow(host)",
        )


PROVIDERS = (
    "api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com", "ollama.com",
    "aiplatform.googleapis.com", "openai.azure.com", "api.mistral.ai", "api.groq.com",
    "openrouter.ai", "api.cohere.com", "api.cohere.ai", "api.deepseek.com", "api.x.ai",
    "api.together.xyz", "api.fireworks.ai", "api.perplexity.ai", "api-inference.huggingface.co",
    "router.huggingface.co", "api.replicate.com", "api.cerebras.ai", "models.github.ai",
    "models.inference.ai.azure.com", "dashscope.aliyuncs.com", "api.moonshot.cn", "api.ai21.com",
    "integrate.api.nvidia.com", "api.voyageai.com", "api.jina.ai",
)  # fmt: skip
"""Hosts of providers of models; their subdomains are meant too."""


@dataclasses.dataclass(eq=False, slots=True)
class Opened:
    """A server that is open in process.

    :param core: what answers.
    :param port: where it listens, None where it does not.
    :param loopback: whether that address is answered in process, too.
    :param allowed: providers that may be reached all the same.
    :param refused: hosts that were refused.
    """

    core: ModelCore
    host: str = "127.0.0.1"
    port: int | None = None
    loopback: bool = True
    allowed: set[str] = dataclasses.field(default_factory=set[str])
    refused: list[str] = dataclasses.field(default_factory=list[str])

    def addresses(self) -> Iterable[tuple[str, int | None]]:
        """What is answered: a host, and its port or None for any."""
        for spoken in self.core.dialects:
            for name in spoken.hosts:
                host, _, port = name.partition(":")
                yield host, int(port) if port else None
            if spoken.name == "ollama":
                yield from (("localhost", 11434), ("127.0.0.1", 11434))
        if self.port is not None and self.loopback:
            yield from {(self.host, self.port), ("127.0.0.1", self.port), ("localhost", self.port)}


_opened: list[Opened] = []
_table: dict[tuple[str, int | None], Opened] = {}
_changing = threading.Lock()


def open_server(opened: Opened) -> None:
    """Answer for a server from now on, before those opened earlier where addresses are the same."""
    from windtunnel.models import patches

    with _changing:
        _opened.append(opened)
        _rebuild()
        if len(_opened) == 1:
            patches.install()


def close_server(opened: Opened) -> None:
    """Answer for it no more."""
    from windtunnel.models import patches

    with _changing:
        if opened in _opened:
            _opened.remove(opened)
            _rebuild()
            if not _opened:
                patches.uninstall()


def _rebuild() -> None:
    # Made beside the old one: other threads ask meanwhile, and what stays open stays answered.
    global _table
    _table = {address: opened for opened in _opened for address in opened.addresses()}


def _forked() -> None:
    global _changing
    _changing = threading.Lock()


def answering(host: str, port: int | None) -> Opened | None:
    """The server that answers for an address, None for none."""
    table = _table
    return table.get((host, port)) or table.get((host, None))


def guard(host: object) -> None:
    """Let a connection to that host pass, or not.

    :raises EgressError: where it is a provider's, and nobody allowed it.
    """
    if not _opened:
        return
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if not isinstance(name, str) or not _is_provider(name):
        return
    if any(name in opened.allowed for opened in _opened):
        return
    for opened in _opened:
        opened.refused.append(name)
    raise EgressError(name)


def _is_provider(name: str) -> bool:
    return name in PROVIDERS or name.endswith(_SUFFIXES)


_SUFFIXES = (*(f".{name}" for name in PROVIDERS), "-aiplatform.googleapis.com")

forks.in_child(_forked)

__all__ = [
    "PROVIDERS",
    "EgressError",
    "Opened",
    "answering",
    "close_server",
    "guard",
    "open_server",
]
