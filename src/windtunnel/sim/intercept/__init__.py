"""Clocks and entropy of the simulated world, taken over in place.

`install` prepares everything once a process; `enter` puts it in place when a world's loop begins
to run, `leave` puts back what was there. Between two runs not a pointer of the interpreter
differs from before, so pytest's own timing, pickling, ``help()`` and other clock-changing
libraries see the functions they always saw. While a world runs, each replaced function asks
`windtunnel.sim.inside` whether the call comes from the thread of that world; any other thread
gets the real thing.
"""

from windtunnel.sim.intercept.arming import enter, install, leave

__all__ = ["enter", "install", "leave"]
