"""What one token allows: which resources, hosts and operations, how much, how often, how long."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities.hosts import HostPattern, parsed_address
from windtunnel.sessions.capabilities.paths import (
    PathPattern,
    Resource,
    UnclearResource,
    normalised,
)
from windtunnel.sessions.capabilities.wish import Wish

Ports: TypeAlias = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityConstraint:
    """Bounds of a token. What is left out is not bounded.

    :param resources: patterns; a resource must match one. ``*`` and ``?`` stand for characters
        within a segment, ``**`` for any number of segments. With ``hosts`` or ``ports`` they are
        patterns of a URL's path.
    :param hosts: names, ``*.name`` (one label more), ``**.name`` (any number), addresses,
        networks, or ``**``. The resource is then read as a URL or ``host:port``.
    :param ports: numbers, or ranges such as ``"8000-8080"``.
    :param operations: names of operations, such as ``"read"``.
    :param uses: how many times in all, also counted for what was narrowed from the token.
    :param total_bytes: how many bytes in all.
    :param max_bytes: how many bytes at a time.
    :param memory_mb: mebibytes that one use may ask for, or that code run under it may take.
    :param cpu_s: seconds of CPU in all, of host functions called under it, or of code run.
    :param expires_at: seconds since the epoch, on the context's clock, when it ends.
    :param fold_case: whether upper and lower case are the same in ``resources``.
    :param resolve_symlinks: whether the file that a resource leads to, symbolic links followed,
        must match, in place of the path as it was written.
    :raises UsageError: for a bound that cannot be meant.

    >>> bounds = CapabilityConstraint(resources="/data/**", operations="read", max_bytes=1000)
    >>> bounds.refusal("/data/a.csv", "read", size=10)
    ''
    >>> bounds.refusal("/data/../etc/passwd", "read")
    'the resource /etc/passwd matches none of /data/**'
    >>> bounds.covers(CapabilityConstraint(resources="/data/**", operations="read"))
    False
    """

    resources: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    ports: Ports = ()
    operations: tuple[str, ...] = ()
    uses: int | None = None
    total_bytes: int | None = None
    max_bytes: int | None = None
    memory_mb: float | None = None
    cpu_s: float | None = None
    expires_at: float | None = None
    fold_case: bool = False
    resolve_symlinks: bool = False
    _paths: tuple[PathPattern, ...] = dataclasses.field(
        default=(), init=False, repr=False, compare=False
    )
    _real_paths: tuple[PathPattern, ...] = dataclasses.field(
        default=(), init=False, repr=False, compare=False
    )
    _hosts: tuple[HostPattern, ...] = dataclasses.field(
        default=(), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        settle = object.__setattr__
        for name in ("resources", "hosts", "operations"):
            settle(self, name, _texts(name, getattr(self, name)))
        settle(self, "ports", _ports(self.ports))
        for name in ("uses", "total_bytes", "max_bytes"):
            _check_amount(name, getattr(self, name), whole=True)
        for name in ("memory_mb", "cpu_s", "expires_at"):
            _check_amount(name, getattr(self, name), whole=False)
        settle(self, "_paths", tuple(PathPattern.parse(text) for text in self.resources))
        if self.resolve_symlinks:
            # Now and not when it is asked about: a folder above may be turned into a link later.
            settle(self, "_real_paths", tuple(one.resolved() for one in self._paths))
        settle(self, "_hosts", tuple(HostPattern.parse(text) for text in self.hosts))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.given().items())
        return f"CapabilityConstraint({given})"

    def given(self) -> dict[str, Any]:
        """The bounds that it sets, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.init and getattr(self, field.name) != field.default
        }

    def refusal(
        self,
        resource: str = "",
        operation: str = "",
        *,
        size: int = 0,
        memory_mb: float = 0.0,
    ) -> str:
        """Why such a use is out of these bounds, whatever was used before; empty when it is not."""
        wish = Wish("", resource, operation, size, memory_mb)
        return wish.malformed or self.refusal_of(wish)

    def refusal_of(self, wish: Wish) -> str:
        """The same, of what was read already."""
        if self.operations and wish.operation not in self.operations:
            named = f"the operation {wish.operation!r}" if wish.operation else "no operation"
            return f"{named} is asked for, of {', '.join(self.operations)}"
        if self.max_bytes is not None and wish.size > self.max_bytes:
            return f"{wish.size} bytes at a time are more than {self.max_bytes}"
        if self.memory_mb is not None and wish.memory_mb > self.memory_mb:
            return f"{wish.memory_mb:g} MiB are more than {self.memory_mb:g}"
        try:
            if self._hosts or self.ports:
                return self._address_refusal(wish.resource)
            return self._path_refusal(wish) if self._paths else ""
        except UnclearResource as unclear:
            return f"the resource is refused: {unclear}"

    def covers(self, other: CapabilityConstraint) -> bool:
        """Whether all that ``other`` allows is certainly allowed here too."""
        return not self.broader_in(other)

    def broader_in(self, other: CapabilityConstraint) -> str:
        """The first bound in which ``other`` goes beyond this one; empty when in none."""
        for name in ("uses", "total_bytes", "max_bytes", "memory_mb", "cpu_s", "expires_at"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and (theirs is None or theirs > mine):
                return name
        if self.operations and not (
            other.operations and set(other.operations) <= set(self.operations)
        ):
            return "operations"
        if self.hosts and not (
            other.hosts
            and all(any(mine.covers(one) for mine in self._hosts) for one in other._hosts)
        ):
            return "hosts"
        if self.ports and not (other.ports and all(map(self._covers_ports, other.ports))):
            return "ports"
        if self.resources and not self._covers_resources(other):
            return "resources"
        return ""

    def _covers_ports(self, wanted: tuple[int, int]) -> bool:
        return any(low <= wanted[0] and wanted[1] <= high for low, high in self.ports)

    def _covers_resources(self, other: CapabilityConstraint) -> bool:
        if not other.resources or (other.fold_case and not self.fold_case):
            return False
        if self.resolve_symlinks and not other.resolve_symlinks:
            return False
        if bool(self.hosts or self.ports) != bool(other.hosts or other.ports):
            return False  # one reads the resource as a path, the other as an address
        return all(
            any(mine.covers(one, fold_case=self.fold_case) for mine in self._paths)
            for one in other._paths
        )

    def _address_refusal(self, resource: str) -> str:
        address = parsed_address(resource)
        if self._hosts and not any(host.matches(address.host) for host in self._hosts):
            return f"the host {address.host} matches none of {', '.join(self.hosts)}"
        if self.ports:
            if address.port is None:
                return "the resource names no port"
            if not self._covers_ports((address.port, address.port)):
                return f"the port {address.port} is none of {_ports_text(self.ports)}"
        if self.resources:
            return self._match(normalised(address.path or "/"))
        return ""

    def _path_refusal(self, wish: Wish) -> str:
        if not wish.resource:
            return "no resource is named"
        if not self.resolve_symlinks:
            return self._match(wish.form())
        real = wish.real()
        if any(one.matches(real, fold_case=self.fold_case) for one in self._real_paths):
            return ""
        return f"the resource leads to {real}, which matches none of {', '.join(self.resources)}"

    def _match(self, form: Resource) -> str:
        if any(one.matches(form, fold_case=self.fold_case) for one in self._paths):
            return ""
        return f"the resource {form} matches none of {', '.join(self.resources)}"


def _texts(name: str, given: Iterable[str] | str) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given)
    for text in texts:
        if not isinstance(text, str) or not text:
            raise UsageError(f"{name} of a capability are texts, not empty", found=repr(text))
    return texts


def _ports(given: Any) -> Ports:
    """One number, pair or text, or several of them, as pairs."""
    several = (given,) if isinstance(given, (int, str)) else tuple(given)
    return tuple(map(_port_range, several))


def _port_range(given: Any) -> tuple[int, int]:
    pair = given.split("-") if isinstance(given, str) else given
    try:
        low, high = (pair, pair) if isinstance(pair, int) else (int(pair[0]), int(pair[-1]))
    except (TypeError, ValueError, IndexError):
        low, high = 0, -1
    if isinstance(given, bool) or not 1 <= low <= high <= 65535:
        raise UsageError(
            "ports of a capability are numbers from 1 to 65535",
            found=repr(given),
            fix='write 443 or "8000-8080"',
        )
    return low, high


def _ports_text(ports: Ports) -> str:
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ports)


def _check_amount(name: str, value: object, *, whole: bool) -> None:
    if value is None:
        return
    kinds = (int,) if whole else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or value < 0:  # type: ignore[arg-type,operator]
        raise UsageError(
            f"{name} of a capability is a {'whole ' if whole else ''}number of at least 0",
            found=repr(value),
            fix="leave it out for no limit",
        )


__all__ = ["CapabilityConstraint", "Ports"]
