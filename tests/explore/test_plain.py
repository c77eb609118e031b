"""A world's configuration as plain data, in a token."""

from __future__ import annotations

import json

import pytest

from windtunnel.core import UsageError
from windtunnel.explore.plain import from_plain, to_plain
from windtunnel.sim import WorldConfig
from windtunnel.sim.net.links import Fixed, LinkConfig, NetworkConfig, Uniform


@pytest.mark.parametrize(
    "config",
    [
        WorldConfig(),
        WorldConfig(policy="pct", pct_depth=5, fresh=("shop", "till"), stall_s=1.5),
        WorldConfig(
            network=NetworkConfig(
                ipv6=False,
                between=LinkConfig(latency=Uniform(0.1, 0.2), loss=0.3),
                loopback=LinkConfig(latency=Fixed(0.5)),
            )
        ),
    ],
)
def test_a_configuration_survives_its_way_through_json(config: WorldConfig) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config


def test_only_what_differs_is_written() -> None:
    assert to_plain(WorldConfig(policy="fifo")) == {"=": "WorldConfig", "policy": "fifo"}


@pytest.mark.parametrize("plain", [{"=": "Kitchen"}, {"=": "WorldConfig", "colour": 1}])
def test_what_is_not_known_here_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        from_plain(plain)
