"""The simulated network: addresses, links, connections, datagrams, and what goes wrong there.

In the order in which data passes: :mod:`sock` and :mod:`calls` are what programs see (sockets,
asyncio's calls), :mod:`transport` what asyncio's protocols see, :mod:`stream`, :mod:`datagram`,
:mod:`listener` and :mod:`connecting` what a kernel keeps, :mod:`links` the ways between nodes,
:mod:`verbs` the faults put on them, :mod:`network` all of it together.
"""

from __future__ import annotations
