"""The fence around the simulated world: what cannot be controlled is refused where it is called.

Three rings. `enter` makes calls that lead out of the world raise `EscapeError` in the thread of
the world, while its loop runs; an audit hook does the same for what Python itself reports (files,
processes, threads, real sockets); and `Census` compares the threads, descriptors and child
processes of the process before and after, for what neither of them saw. Each refusal is also told
to ``world.escape``, so a library that swallows the exception does not hide it.

docs/sim-fence.md lists every route.
"""

from windtunnel.sim.fence.arming import enter, install, leave
from windtunnel.sim.fence.census import Census

__all__ = ["Census", "enter", "install", "leave"]
