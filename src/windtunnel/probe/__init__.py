"""Probes run things again, changed on purpose, to find a cause.

``windtunnel flaky hunt`` (:mod:`windtunnel.probe.hunt`) finds out why a test is flaky. In the order
in which data passes through it: ``targets`` says which tests, ``lab`` (with ``lab_server``,
``chamber``, ``observer``, ``inside`` and ``watch`` on the far side) runs experiments, ``bench``
counts, ``imports``, ``orders`` and ``interventions`` look for the cause, ``findings`` is what they
fill in and ``show`` how it reads.
"""
