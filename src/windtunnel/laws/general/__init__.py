"""General laws: those that every contract comes with, each asked where the contract says enough.

>>> from windtunnel.laws import general
>>> [law.name for law in general.ALL][:2]
['same_input_same_output', 'input_is_not_mutated']
"""

from __future__ import annotations

from windtunnel.laws.book import Law
from windtunnel.laws.general.cancelling import cancellation_leaves_it_usable
from windtunnel.laws.general.closing import close_is_idempotent, nothing_leaks
from windtunnel.laws.general.concurrency import concurrent_calls_equal_a_serial_order
from windtunnel.laws.general.counting import identifiers_are_carried, stats_agree
from windtunnel.laws.general.doubling import agrees_with_the_real_one
from windtunnel.laws.general.failing import failure_says_so, invalid_config_is_refused
from windtunnel.laws.general.purity import input_is_not_mutated, same_input_same_output
from windtunnel.laws.general.roundtrip import repr_round_trips, serialisation_round_trips
from windtunnel.laws.general.timing import timeout_is_honoured

ALL: tuple[Law, ...] = (
    same_input_same_output,
    input_is_not_mutated,
    concurrent_calls_equal_a_serial_order,
    failure_says_so,
    cancellation_leaves_it_usable,
    timeout_is_honoured,
    stats_agree,
    identifiers_are_carried,
    invalid_config_is_refused,
    repr_round_trips,
    serialisation_round_trips,
    close_is_idempotent,
    nothing_leaks,
    agrees_with_the_real_one,
)
"""Every general law, in the order in which they are asked."""

__all__ = [
    "ALL",
    "agrees_with_the_real_one",
    "cancellation_leaves_it_usable",
    "close_is_idempotent",
    "concurrent_calls_equal_a_serial_order",
    "failure_says_so",
    "identifiers_are_carried",
    "input_is_not_mutated",
    "invalid_config_is_refused",
    "nothing_leaks",
    "repr_round_trips",
    "same_input_same_output",
    "serialisation_round_trips",
    "stats_agree",
    "timeout_is_honoured",
]
