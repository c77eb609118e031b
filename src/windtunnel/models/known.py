"""What was asked before: calls parsed, validated and matched once for the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.models import tokens
from windtunnel.models.dialects import Dialect
from windtunnel.models.protocol import HttpRequest, ModelCall, Reply, Usage
from windtunnel.models.script import Script, Scripts

if TYPE_CHECKING:
    from windtunnel.models.core import ModelCore


class Known:
    """What a request asks, and the scripts that fit it: worked out once for the same bytes.

    Clients under test ask the same again and again (retries, loops, load); what was parsed and
    validated then need not be again, as long as the models and the scripts are the same.
    """

    __slots__ = (
        "_headers",
        "_models",
        "_scripts",
        "_target",
        "call",
        "fitting",
        "pure",
        "spoken",
        "used",
    )

    def __init__(self, spoken: Dialect, call: ModelCall, pure: bool) -> None:
        self.spoken = spoken
        self.call = call
        self.pure = pure
        """Whether nothing but the request's bytes and the models decides what it asks."""
        self.fitting: tuple[Script, ...] | None = None
        self.used: tuple[Reply, Usage] | None = None

    def keep(self, request: HttpRequest, core: ModelCore) -> None:
        """Note what it was worked out from."""
        self._headers = request.headers
        self._target = request.method, request.path, request.query
        self._models = core.state.models.version
        self._scripts = core.scripts.version

    def holds_for(self, request: HttpRequest, core: ModelCore) -> bool:
        """Whether it is what that request, of the same body, asks."""
        # Heads are kept parsed (see `wire`), so that equal ones are the same object.
        return (
            self._headers is request.headers
            and self._target == (request.method, request.path, request.query)
            and self._models == core.state.models.version
            and self._scripts == core.scripts.version
        )

    def fits(self, scripts: Scripts) -> tuple[Script, ...]:
        """The scripts that fit the call."""
        if self.fitting is None or not scripts.pure:
            self.fitting = scripts.fitting(self.call)
        return self.fitting

    def usage(self, reply: Reply) -> Usage:
        """The tokens of the call and that reply."""
        if self.used is None or self.used[0] is not reply:
            self.used = reply, tokens.usage_of(self.call, reply)
        return self.used[1]


__all__ = ["Known"]
