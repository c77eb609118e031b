"""General laws: those that every contract comes with, each asked where the contract says enough."""

from __future__ import annotations

from windtunnel.laws.book import Law

ALL: tuple[Law, ...] = ()
"""Every general law, in the order in which they are asked."""
