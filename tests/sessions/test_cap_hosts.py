"""Resources as network addresses: hosts in every notation, ports, URLs."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.core import UsageError
from windtunnel.sessions import CapabilityConstraint


def lets(resource: str, **bounds: object) -> bool:
    return not CapabilityConstraint(**bounds).refusal(resource)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "resource"),
    [
        ("api.example.com", "api.example.com"),
        ("api.example.com", "API.Example.COM."),
        ("API.example.com.", "https://api.example.com/v1?x=http://evil.com"),
        ("*.example.com", "wss://a.example.com/socket"),
        ("**.example.com", "a.b.example.com:443"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "https://BÜCHER.example/"),
        ("api.example.com", "api\u3002example\uff0ecom"),
        ("127.0.0.1", "127.1"),
        ("127.0.0.1", "2130706433"),
        ("127.0.0.1", "0x7f.0.0.1"),
        ("127.0.0.1", "http://0x7F000001:80/"),
        ("127.0.0.1", "127.0.0.1."),
        ("127.0.0.1", "[::ffff:127.0.0.1]:80"),
        ("127.0.0.1", "::ffff:7f00:1"),
        ("127.0.0.1", "\uff11\uff12\uff17.0.0.1"),
        ("10.0.0.0/8", "10.9.8.7:22"),
        ("::1", "[0:0:0:0:0:0:0:1]:80"),
        ("[::1]", "::1"),
        ("fd00::/8", "http://[fd12::1]/"),
        ("**", "anything.at.all"),
        ("**", "[::1]"),
    ],
)
def test_a_host_in_any_notation_is_the_host_that_is_reached(host, resource):
    assert lets(resource, hosts=host)


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "evil.com",
        "example.com",
        "api.example.com.evil.com",
        "apixexample.com",
        "api.example.com..",
        "a.api.example.com",
        "https://api.example.com@evil.com/",
        "https://user:api.example.com@evil.com/",
        "https://evil.com\\@api.example.com/",
        "https://evil.com#@api.example.com/",
        "https://evil.com?@api.example.com/",
        "https://evil.com/api.example.com",
        "https:/api.example.com",
        "https://api.example.com%2eevil.com",
        "https://api.example.com%00.evil.com",
        "api.example.com\n.evil.com",
        "api.example.com\t",
        " api.example.com",
        "api.example.com:",
        "api.example.com:0",
        "api.example.com:65536",
        "api.example.com:+80",
        "api.example.com:٨٠",
        "api.example.com:80:80",
        "[api.example.com]",
        "[::1",
        "[::1]x",
        "аpi.example.com",  # a Cyrillic a
        "api.example\u200d.com",
        "straße.example.com",
        "api.example.com\\",
        "-api.example.com",
    ],
)
def test_what_only_looks_like_the_host_is_refused(resource):
    assert not lets(resource, hosts="api.example.com")


@pytest.mark.parametrize(
    "resource",
    ["0177.0.0.1", "127.0.0.01", "00.1", "127.0.0.256", "256.1", "1.2.3.4.5", "0x7f.0.0.1.x.1",
     "127.0.0.08", "fe80::1%eth0", "127..1", "1e3", "4294967296", "12345678901234567890"],
)  # fmt: skip
def test_an_address_that_programs_read_differently_is_refused_even_where_every_address_goes(
    resource,
):
    networks = ("0.0.0.0/0", "::/0")
    assert not lets(resource, hosts=networks)


def test_who_names_a_user_before_the_host_is_told_why_not():
    anywhere = CapabilityConstraint(hosts="**")
    assert "before @" in anywhere.refusal("https://good.com@evil.com/")


def test_a_wildcard_stands_for_labels_and_never_for_an_address():
    assert not lets("example.com", hosts="*.example.com")
    assert not lets("example.com", hosts="**.example.com")
    assert not lets("a.b.example.com", hosts="*.example.com")
    assert not lets("evilexample.com", hosts="**.example.com")
    assert not lets("10.0.0.1", hosts="**.0.1.example")


def test_a_network_holds_its_addresses_only():
    assert not lets("11.0.0.1", hosts="10.0.0.0/8")
    assert not lets("::a00:1", hosts="10.0.0.0/8")
    assert not lets("ten.example.com", hosts="10.0.0.0/8")


def test_ports_are_those_named_or_those_of_the_scheme():
    bounds = {"hosts": "**", "ports": (443, "8000-8010", (9000, 9001))}
    for allowed in (
        "https://x.com/",
        "x.com:8005",
        "http://x.com:9001",
        "[::1]:443",
        "wss://x.com",
    ):
        assert lets(allowed, **bounds)
    for refused in ("http://x.com/", "x.com", "x.com:8011", "https://x.com:444/", "gopher://x.com"):
        assert not lets(refused, **bounds)
    assert lets("any.host:443", ports=443)


def test_with_hosts_resources_are_patterns_of_the_path_of_the_url():
    bounds = {"hosts": "api.example.com", "resources": "/v1/**"}
    assert lets("https://api.example.com/v1/models?q=../../etc", **bounds)
    assert not lets("https://api.example.com/v1/../admin", **bounds)
    assert not lets("https://api.example.com/v1/%2e%2e/admin", **bounds)
    assert not lets("https://api.example.com/", **bounds)
    assert not lets("https://evil.com/v1/models", **bounds)


@pytest.mark.parametrize(
    "bounds",
    [
        {"hosts": "*"}, {"hosts": "*.*.com"}, {"hosts": "a*.com"}, {"hosts": "10.0.0.1/8"},
        {"hosts": "0177.0.0.1"}, {"hosts": ""}, {"hosts": "a b"}, {"hosts": "*.0.0.1"},
        {"hosts": "http://x.com"}, {"ports": 0}, {"ports": 65536}, {"ports": "80-"},
        {"ports": (90, 80)}, {"ports": True}, {"ports": "http"}, {"ports": ((90, 80),)},
    ],
)  # fmt: skip
def test_a_bound_without_a_clear_meaning_is_an_error(bounds):
    if bounds == {"ports": (90, 80)}:  # two ports, not a range
        assert CapabilityConstraint(**bounds).ports == ((90, 90), (80, 80))
        return
    with pytest.raises(UsageError):
        CapabilityConstraint(**bounds)


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("**", "10.0.0.0/8", True),
        ("**", "*.example.com", True),
        ("**.example.com", "*.example.com", True),
        ("**.example.com", "*.a.example.com", True),
        ("**.example.com", "**.a.example.com", True),
        ("**.example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("10.0.0.0/8", "10.1.0.0/16", True),
        ("10.0.0.0/8", "0x0a000001", True),
        ("*.example.com", "**.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", "*.a.example.com", False),
        ("10.0.0.0/8", "**", False),
        ("10.0.0.0/16", "10.0.0.0/8", False),
        ("a.example.com", "*.example.com", False),
        ("**.example.com", "**", False),
        ("::/0", "10.0.0.0/8", False),
    ],
)
def test_a_host_pattern_covers_what_it_certainly_matches(wide, narrow, covered):
    bounds = CapabilityConstraint(hosts=wide)
    assert bounds.covers(CapabilityConstraint(hosts=narrow)) is covered


def test_ports_cover_ports_within_them():
    wide = CapabilityConstraint(ports=("8000-8010", 443))
    assert wide.covers(CapabilityConstraint(ports=(443, "8001-8002")))
    assert not wide.covers(CapabilityConstraint(ports="8000-8011"))
    assert not wide.covers(CapabilityConstraint())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(0, 300).map(str),
            st.integers(0, 2**33).map(str),
            st.integers(0, 2**33).map(hex),
            st.integers(0, 500).map(lambda number: f"0{number:o}"),
            st.sampled_from(["0x", "08", ""]),
        ),
        min_size=1,
        max_size=5,
    ).map(".".join)
)
def test_a_notation_that_is_let_through_is_what_the_machine_reads(notation):
    if lets(notation, hosts="0.0.0.0/0"):
        reached = ipaddress.IPv4Address(socket.inet_aton(notation.removesuffix(".")))
        assert lets(notation, hosts=str(reached))
        assert not lets(
            notation, hosts=str(reached + 1 if int(reached) < 2**32 - 1 else reached - 1)
        )
