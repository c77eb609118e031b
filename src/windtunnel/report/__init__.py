"""Reports: what was decided, shown on the terminal, as a page, and in the formats CI reads.

Everything shown comes out of the record, through the frozen dataclasses of
:mod:`windtunnel.report.data`, so that a run of last week is shown as today's is.
"""
