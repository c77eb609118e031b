"""Resources as paths: what a pattern lets through, and what is refused for being unclear."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
import urllib.parse

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from windtunnel.core import UsageError
from windtunnel.sessions import CapabilityConstraint, CapabilityContext, CapabilityDenied

SAFE = CapabilityConstraint(resources="/safe/**")


def lets(pattern: str, resource: str, **options: bool) -> bool:
    return not CapabilityConstraint(resources=pattern, **options).refusal(resource)


@pytest.mark.parametrize(
    ("pattern", "resource"),
    [
        ("/safe/**", "/safe"),
        ("/safe/**", "/safe/a/b/c"),
        ("/safe/**", "//safe///a//"),
        ("/safe/**", "/safe/./a/../b"),
        ("/safe/**", "/other/../safe/x"),
        ("/safe/*", "/safe/.hidden"),
        ("/safe/*.csv", "/safe/a.csv"),
        ("/safe/**/*.csv", "/safe/a.csv"),
        ("/safe/?.csv", "/safe/é.csv"),
        ("/safe/caf\u00e9", "/safe/cafe\u0301"),
        ("/safe/100%", "/safe/100%"),
        ("/safe/a b.", "/safe/a b."),
        ("data/*", "./data/x"),
        ("**", "orders/42"),
        ("s3://bucket/**", "S3://bucket/key"),
    ],
)
def test_a_pattern_lets_its_resources_through(pattern, resource):
    assert lets(pattern, resource)


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "/",
        "/safer",
        "/saf",
        "/Safe/x",
        "safe/x",
        "./safe/x",
        "/safe/../etc/passwd",
        "/safe/a/../../etc",
        "/../safe/../..",
        "file:///safe/x",
        "/safe/\0/x",
        "/safe/a\n",
        "/safe/\x7f",
        "/safe/\u2028",
        "/safe/\udc80",
        "/safe\\..\\etc",
        "/safe/..\\etc",
        "/safe/%2e%2e/etc",
        "/safe/%2E./etc",
        "/safe/..%2fetc",
        "/safe/%252e%252e%252fetc",
        "/safe/%25252e%25252e/etc",
        "/safe/%5c..",
        "/safe/%00",
        "/safe/%0a",
        "/safe/%c0%ae%c0%ae/etc",
        "/safe/\uff0e\uff0e/etc",
        "/safe/\uff0e./etc",
        "/safe/\u2025/etc",
        "/safe/x\uff0f..\uff0fetc",
        "/safe/\uff3c..",
        "/safe/.\u200b./etc",
        "/safe/\u200b../etc",
        "/safe/\uff05\uff12e\uff05\uff12e/etc",
        "/safe/.../etc",
        "/safe/.. /etc",
        "/safe/ ../etc",
        "/safe/. ",
        "/safe/%2e%2e%20/etc",
        "~/x",
        "~root/x",
        "/safe/" + "a" * 5000,
    ],
)
def test_what_lies_outside_or_could_be_read_as_outside_is_refused(resource):
    assert SAFE.refusal(resource)


def test_relative_resources_do_not_climb_out():
    assert lets("**", "a/../b")
    assert not lets("**", "../b")
    assert not lets("**", "a/../../b")
    assert not lets("**", "~/.ssh/id")
    assert not lets("**", "/etc/passwd")


def test_case_counts_unless_it_is_said_not_to():
    assert not lets("/Safe/**", "/SAFE/x")
    assert lets("/Safe/**", "/SAFE/x", fold_case=True)
    assert lets("/straße", "/STRASSE", fold_case=True)


def test_trailing_dots_and_spaces_are_part_of_a_name():
    assert not lets("/safe/a.txt", "/safe/a.txt.")
    assert not lets("/safe/a.txt", "/safe/a.txt ")


def test_stars_stay_within_a_segment():
    assert not lets("/safe/*", "/safe/a/b")
    assert not lets("/safe/*.csv", "/safe/a/b.csv")
    assert not lets("/safe/*/x", "/safe/x")
    assert lets("/safe/*/x", "/safe/any/x")


def test_a_resource_with_a_star_in_its_name_is_no_pattern():
    assert lets("/safe/*", "/safe/**")
    assert not lets("/safe/a", "/safe/*")


@pytest.mark.parametrize("pattern", ["", "/a/**b", "/a/../..", "/a\0", "..", "/a/%2e%2e/b", "~/x"])
def test_a_pattern_without_a_clear_meaning_is_an_error(pattern):
    with pytest.raises(UsageError):
        CapabilityConstraint(resources=pattern)


def test_symbolic_links_are_followed_only_when_asked(tmp_path):
    (tmp_path / "safe").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "safe" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "safe" / "up").symlink_to(tmp_path)
    (tmp_path / "safe" / "plain").write_text("y")
    inside = f"{os.path.realpath(tmp_path)}/safe"
    assert lets(f"{inside}/**", f"{inside}/link")
    for led_out in ("link", "up/secret", "up"):
        assert not lets(f"{inside}/**", f"{inside}/{led_out}", resolve_symlinks=True)
    assert lets(f"{inside}/**", f"{inside}/plain", resolve_symlinks=True)
    assert lets(f"{inside}/**", f"{inside}/not/there/yet", resolve_symlinks=True)
    assert lets(f"{inside}/**", f"{inside}/up/safe/plain", resolve_symlinks=True)


def test_a_pattern_below_a_link_means_where_the_link_led_when_it_was_made(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "other").mkdir()
    way = tmp_path / "way"
    way.symlink_to(tmp_path / "real")
    bounds = CapabilityConstraint(resources=f"{way}/**", resolve_symlinks=True)
    assert not bounds.refusal(f"{way}/x")
    way.unlink()
    way.symlink_to(tmp_path / "other")
    assert bounds.refusal(f"{way}/x")


def test_a_use_names_the_resource_in_the_form_that_was_judged(tmp_path):
    context = CapabilityContext("root")
    context.grant("lexical", resources="/safe/**")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    context.grant("followed", resources=f"{tmp_path}/**", resolve_symlinks=True)
    context.grant("free")
    assert context.take("lexical", "/safe//a/./x/../b").resource == "/safe/a/b"
    followed = context.take("followed", f"{tmp_path}/link").resource
    assert followed == os.path.realpath(tmp_path / "target")
    assert context.take("free", "any//thing").resource == "any//thing"


def test_what_one_token_judged_is_not_what_another_admitted(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    context = CapabilityContext("root")
    context.grant("fs", resources=f"{tmp_path}/**", resolve_symlinks=True, uses=0)
    context.grant("fs")
    asked = f"{tmp_path}//link"
    assert context.take("fs", asked).resource == asked


def test_links_are_followed_once_for_all_bounds(tmp_path, monkeypatch):
    """Turned between two looks, a link would be judged where it does not lead."""
    looks, really = [], os.path.realpath

    def realpath(path, **more):
        looks.append(path)
        return really(path, **more)

    context = CapabilityContext("root")
    token = context.grant("fs", resources=f"{tmp_path}/**", resolve_symlinks=True)
    child = context.child("guest", [token.narrow(resources=f"{tmp_path}/a/**")])
    monkeypatch.setattr(os.path, "realpath", realpath)
    child.use("fs", f"{tmp_path}/a/x")
    assert looks == [f"{tmp_path}/a/x"]


def test_a_text_that_changes_its_mind_is_read_once():
    class Liar(str):
        __slots__ = ()

        def split(self, *_):
            return ["", "safe", "x"]

        def __str__(self):
            return "/safe/x"

        def startswith(self, *_):
            return True

        def __eq__(self, other):
            return True

        def __hash__(self):
            return hash("/safe/x")

    context = CapabilityContext("root")
    context.grant("fs.read", resources="/safe/**")
    with pytest.raises(CapabilityDenied):
        context.use("fs.read", Liar("/etc/passwd"))


@pytest.mark.parametrize("resource", [b"/safe/x", 7, None, ["/safe/x"]])
def test_what_is_no_text_names_no_resource(resource):
    context = CapabilityContext("root")
    context.grant("fs.read", resources="/safe/**")
    assert not context.allowed("fs.read", resource)


PIECES = [
    "..", ".", "/", "//", "safe", "etc", "x", "%2e", "%2E", "%2f", "%5c", "%252e", "%252f", "%00",
    "\uff0e", "\u2025", "\u2024", "\uff0f", "\uff3c", "\u2215", "\u200b", "\u200d", "\ufeff", "\\",
    " ", "~", "\0", "%c0%ae", "%ff", "%", "\uff05", "2e", "e\u0301", "\u00e9", "file:",
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=9).map(lambda some: "/safe/" + "".join(some))


def readings(resource: str) -> list[str]:
    """What layers below could make of it."""
    once = urllib.parse.unquote(resource, errors="replace")
    twice = urllib.parse.unquote(once, errors="replace")
    found = [resource, once, twice]
    for form in ("NFC", "NFKC", "NFD", "NFKD"):
        found += [unicodedata.normalize(form, one) for one in (resource, once, twice)]
    found += [urllib.parse.unquote(one, errors="replace") for one in found]
    found += [one.replace("\\", "/") for one in found]
    found += ["".join(c for c in one if unicodedata.category(c) != "Cf") for one in found]
    found += ["/".join(part.strip(" ") for part in one.split("/")) for one in found]
    return [one.partition("\0")[0] for one in found]


@settings(max_examples=200, deadline=None)
@given(HOSTILE)
@example("/safe/\uff05\uff12e./x")
def test_no_reading_of_what_is_let_through_leads_out(resource):
    if not SAFE.refusal(resource):
        for reading in readings(resource):
            real = posixpath.normpath(reading)
            assert real == "/safe" or real.startswith("/safe/"), (resource, reading)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab./"), max_size=12).map(lambda text: "/" + text))
def test_the_form_that_was_judged_is_the_one_posix_gives(resource):
    context = CapabilityContext("root")
    context.grant("fs.read", resources="/**")
    try:
        judged = context.take("fs.read", resource).resource
    except CapabilityDenied:
        climbs = posixpath.normpath("/top" + resource)
        dots = any(not part.strip(".") and len(part) > 2 for part in resource.split("/"))
        assert dots or climbs != "/top" + posixpath.normpath(resource).rstrip("/")
    else:
        assert judged == "/" + posixpath.normpath(resource).lstrip("/")
        assert context.take("fs.read", judged).resource == judged


SEGMENT = st.one_of(st.just("**"), st.text(st.sampled_from("ab*?"), min_size=1, max_size=4))
PATTERN = (
    st.lists(SEGMENT, min_size=1, max_size=4)
    .map(lambda some: [one if one == "**" else re.sub(r"\*+", "*", one) for one in some])
    .map(lambda some: "/" + "/".join(some))
)
PATH = st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=4), max_size=4).map(
    lambda some: "/" + "/".join(some)
)


def as_expression(pattern: str) -> re.Pattern[str]:
    """The same pattern in the words of the regular expressions, for an answer to compare with."""
    parts = [
        "(/[^/]+)*"
        if segment == "**"
        else "/" + re.escape(segment).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        for segment in pattern.split("/")[1:]
    ]
    return re.compile("".join(parts))


@settings(max_examples=200, deadline=None)
@given(PATTERN, PATH)
def test_a_pattern_matches_what_its_regular_expression_does(pattern, path):
    # A segment is never empty, which `*` as an expression could be.
    expected = as_expression(pattern).fullmatch("" if path == "/" else path) is not None
    assert lets(pattern, path) == expected


@settings(max_examples=200, deadline=None)
@given(PATTERN, PATTERN, st.data())
def test_what_a_covered_pattern_matches_the_covering_one_matches(wide, narrow, data):
    if not CapabilityConstraint(resources=wide).covers(CapabilityConstraint(resources=narrow)):
        return
    path = "/" + "/".join(data.draw(one_of_its_paths(narrow)))
    assert lets(narrow, path)
    assert lets(wide, path)


@st.composite
def one_of_its_paths(draw, pattern: str) -> list[str]:
    letters = st.text(st.sampled_from("ab"), max_size=2)
    path: list[str] = []
    for segment in pattern.split("/")[1:]:
        if segment == "**":
            path += draw(st.lists(letters.map(lambda text: text + "a"), max_size=2))
            continue
        stood_for = {"*": letters, "?": st.sampled_from("ab")}
        text = "".join(draw(stood_for.get(one, st.just(one))) for one in segment)
        path.append(text or "b")
    return path


@settings(max_examples=100, deadline=None)
@given(PATTERN)
def test_a_pattern_covers_itself_and_all_cover_it(pattern):
    bounds = CapabilityConstraint(resources=pattern)
    assert bounds.covers(bounds)
    assert CapabilityConstraint(resources="/**").covers(bounds)
    assert CapabilityConstraint().covers(bounds)
    assert not bounds.covers(CapabilityConstraint())


def test_a_pattern_of_many_stars_answers_at_once():
    pattern = "/" + "a*" * 30 + "b/" + "**/x/" * 20 + "y"
    assert not lets(pattern, "/" + "a" * 900 + "/x" * 700)
