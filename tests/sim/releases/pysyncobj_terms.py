"""Has each term at most one leader, when nodes of a Raft cluster crash and restart?

PySyncObj before 0.3.16 keeps neither its term nor its vote on disk, so that a node that
restarts may vote a second time in the same term (Raft, section 5.2: election safety).
"""

import asyncio
import pickle
import random

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import TCPNode
from pysyncobj.transport import Transport

import windtunnel as wt

NAMES = ("a", "b", "c")
PORT = 4321
LEADERS: dict[int, set[str]] = {}
"""Term to the nodes that were seen to lead in it; the test's own knowledge."""


class StreamTransport(Transport):
    """PySyncObj's transport interface over asyncio's streams."""

    def __init__(self, syncobj, me, others):
        super().__init__(syncobj, me, others)
        self._me = me
        self._others = {node.id: node for node in others}
        self._writers = {}
        self._waiting = {}

    @property
    def ready(self):
        return True

    def tryGetReady(self):
        pass

    def waitReady(self):
        pass

    def send(self, node, message):
        writer = self._writers.get(node.id)
        if writer is None or writer.is_closing():
            return False
        data = pickle.dumps((self._me.id, message))
        writer.write(len(data).to_bytes(4, "big") + data)
        return True

    def destroy(self):
        for writer in self._writers.values():
            writer.close()

    async def serve(self):
        server = await asyncio.start_server(self._read, "0.0.0.0", PORT)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve_forever())
            for node in self._others.values():
                group.create_task(self._keep_connected(node))

    async def _read(self, reader, writer):
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                sender, message = pickle.loads(await reader.readexactly(size))
                self._onMessageReceived(self._others[sender], message)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def _keep_connected(self, node):
        while True:
            try:
                async with asyncio.timeout(1):
                    reader, writer = await asyncio.open_connection(node.host, PORT)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            self._writers[node.id] = writer
            self._onNodeConnected(node)
            try:
                await reader.read()  # nothing is ever sent this way: it returns at the end
            except OSError:
                pass
            self._writers.pop(node.id, None)
            writer.close()
            self._onNodeDisconnected(node)


async def member(name, folder):
    """One process of the cluster."""
    me = TCPNode(f"{name}:{PORT}")
    others = [TCPNode(f"{other}:{PORT}") for other in NAMES if other != name]
    conf = SyncObjConf(
        autoTick=False,
        journalFile=f"{folder}/{name}.journal",
        raftMinTimeout=0.4,
        raftMaxTimeout=0.6,
        appendEntriesPeriod=0.1,
        connectionTimeout=2.0,
        dynamicMembershipChange=False,
    )
    transport = None

    class Cluster(SyncObj):
        pass

    obj = Cluster(me, others, conf=conf, transport=make_transport(me, others))
    transport = obj._SyncObj__transport
    serving = asyncio.create_task(transport.serve())
    while not serving.done():
        obj.doTick(0.0)
        if obj._isLeader():
            LEADERS.setdefault(obj.raftCurrentTerm, set()).add(name)
        await asyncio.sleep(0.05)
    await serving


def make_transport(me, others):
    return StreamTransport(None, me, others)


@wt.simulated
async def test_a_term_has_one_leader(world, tmp_path):
    LEADERS.clear()
    nodes = [world.start(name, member, name, str(tmp_path)) for name in NAMES]
    for _ in range(10):
        await asyncio.sleep(random.uniform(0.1, 1.0))
        node = random.choice(nodes)
        node.crash()
        await asyncio.sleep(random.uniform(0.0, 0.2))
        node.restart()
        for term, leaders in LEADERS.items():
            assert len(leaders) == 1, f"term {term} has the leaders {sorted(leaders)}"
