"""The network of one world: every link, socket, port and name, and what happens to nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.sim.net.addresses import Routes
from windtunnel.sim.net.files import SocketFile
from windtunnel.sim.net.links import Link
from windtunnel.sim.net.ports import Ports
from windtunnel.sim.net.resolver import Hosts
from windtunnel.sim.net.stream import Segment, StreamEnd
from windtunnel.sim.net.trouble import Trouble, disturbed
from windtunnel.sim.net.verbs import Verbs

if TYPE_CHECKING:
    from windtunnel.sim.node import Node
    from windtunnel.sim.world import World

# No process has that many descriptors, so a simulated one is never taken for a real one.
_FIRST_FD = 1_000_000
_MOST_SEGMENTS = 20_000
# What a message that carries nothing counts for on the link: headers.
_EMPTY = 60


class Network(Verbs):
    """The network of a world.

    :param world: whose nodes it joins.
    :ivar files: the simulated sockets, by descriptor number.
    :ivar segments: the last messages of streams, oldest first, as lists (see ``stream``).
    :ivar down: nodes whose machine does not answer, since they crashed silently.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.config = world.config.network
        self.kernel: Node = world._kernel
        self.files: dict[int, SocketFile] = {}
        self.segments: deque[Segment] = deque(maxlen=_MOST_SEGMENTS)
        self.down: set[Node] = set()
        self.routes = Routes(world)
        self.ports = Ports(self)
        self.hosts = Hosts(self)
        self._last_fd = _FIRST_FD - 1
        self._links: dict[tuple[str, str], Link] = {}
        self._ends: dict[StreamEnd, None] = {}

    def next_fd(self) -> int:
        """A descriptor number that was not used before."""
        self._last_fd += 1
        return self._last_fd

    def add_host(self, name: str, *where: str) -> None:
        """Make a host name known on all nodes; ``where`` is IP addresses or names of nodes.

        :raises UsageError: when ``where`` is empty, or neither an address nor a node.
        """
        self.hosts.add(name, *where)

    # Links and what they carry.

    def link(self, source: Node, target: Node) -> Link:
        """The way from one node to another."""
        key = (source.name, target.name)
        known = self._links.get(key)
        if known is None:
            config = self.config.loopback if source is target else self.config.between
            known = self._links[key] = Link(self, source, target, config)
        return known

    def carry(self, link: Link, arrived: Callable[[], object], lost: Callable[[], object]) -> None:
        """Send a message that carries nothing: one of the two is called, by the kernel."""
        if link.blocked:
            self.world.soon(lost)
        else:
            self.world.at(link.arrival_ns(_EMPTY), self._carried, link, arrived, lost)

    def _carried(
        self, link: Link, arrived: Callable[[], object], lost: Callable[[], object]
    ) -> None:
        if link.held:
            link.kept.append((arrived, lost))
        elif link.blocked or link.target in self.down or link.chance("net.loss", link.config.loss):
            lost()
        else:
            arrived()

    # Connections.

    def remember(self, end: StreamEnd) -> None:
        """A connection has come about."""
        for each in (end, end.peer):
            self._ends[each] = None
            if disturbed(each):
                each.trouble = Trouble(each)
                each.review()

    def forget(self, end: StreamEnd) -> None:
        """An end of a connection is no more."""
        self._ends.pop(end, None)

    def review(self, end: StreamEnd) -> None:
        """See whether an end still has trouble, or has some now."""
        if end.over:
            return
        if end.trouble is None and disturbed(end):
            end.trouble = Trouble(end)
        if end.trouble is not None and not end.trouble.review():
            end.trouble = None
        end.review()

    def note(self, kind: str, end: Any, **facts: Any) -> None:
        """A fact about a connection."""
        self.world.note(
            kind, node=end.node.name, src=end.node.name, dst=end.peer.node.name, **facts
        )

    # Nodes.

    def node_added(self, node: Node) -> None:
        """A node is new in the world."""

    def node_crashed(self, node: Node, how: Literal["reset", "silence"] | None = None) -> None:
        """Its program is gone between two steps; so, perhaps, is its machine.

        :param how: ``"reset"``: the machine is still there and resets its connections;
            ``"silence"``: nothing is heard of it until it boots again. Drawn when None.
        """
        if how is None:
            how = ("reset", "silence")[self.world.choose("net.crash", 2)]
        self.world.note("connections", node=node.name, after_crash=how)
        silent = how == "silence"
        if silent:
            self.down.add(node)
        for file in self._abandon(node):
            if isinstance(file.part, StreamEnd):
                file.part.crash(silent=silent)
        if silent:  # also what its kernel was still sending for programs that had closed
            for end in [end for end in self._ends if end.node is node]:
                end.crash(silent=True)
        self._review_around(node)

    def node_restarted(self, node: Node) -> None:
        """Its machine is there again; it knows nothing of the connections it had."""
        if node in self.down:
            self.down.discard(node)
            self._review_around(node)

    def node_stopped(self, node: Node) -> None:
        """Its program has ended; the kernel closes what it left open."""
        for file in self._abandon(node):
            if file.part is not None:
                file.part.close()

    def node_resumed(self, node: Node) -> None:
        """Its program goes on after a pause. Its kernel never paused, so there is nothing to do."""

    def _abandon(self, node: Node) -> list[SocketFile]:
        """Take a program's sockets from it, in the order in which they were made."""
        files = sorted(node.sockets, key=lambda file: int(file.fd))
        node.sockets.clear()
        for file in files:
            file.abandon()
        return files

    def _review_around(self, node: Node) -> None:
        for end in list(self._ends):
            if end.peer.node is node:
                self.review(end)
