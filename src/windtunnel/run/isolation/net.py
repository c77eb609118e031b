"""Isolation ``net``: a network namespace with nothing in it but loopback.

Fixed ports of different workers do not collide, and nothing outside is reached by accident.
"""

from __future__ import annotations

from windtunnel.run.isolation import linux


def unshare_network() -> bool:
    """Move this process into its own network; returns whether that took a user namespace.

    :raises OSError: where it cannot be had.
    """
    needed_user = linux.unshare_with_user(linux.CLONE_NEWNET)
    linux.bring_loopback_up()
    return needed_user
