"""Contexts: a tree in which below only less is held, and what is taken back stays away."""

from __future__ import annotations

import copy
import pickle

import pytest

from windtunnel.core import UsageError, WindtunnelError
from windtunnel.core.events import Violation, set_sink
from windtunnel.sessions import (
    Capabilities,
    CapabilityChecker,
    CapabilityConstraint,
    CapabilityContext,
    CapabilityDenied,
    CapabilityToken,
    current_context,
)


def test_a_root_without_tokens_allows_nothing():
    root = CapabilityContext("root")
    assert not root.allowed("fs.read", "/x")
    with pytest.raises(CapabilityDenied) as caught:
        root.use("fs.read", "/x", operation="open")
    assert caught.value.reason == "no token of this type is held"


def test_where_no_scope_was_entered_nothing_is_allowed_and_nothing_can_be_given():
    nothing = current_context()
    assert not nothing.allowed("fs.read")
    with pytest.raises(CapabilityDenied):
        Capabilities().use("fs.read")
    with pytest.raises(UsageError):
        nothing.add_capability(CapabilityToken("fs.read"))
    with pytest.raises(CapabilityDenied):
        nothing.child("guest", [CapabilityToken("fs.read")])
    nothing.close()  # closes nothing: it is everybody's
    with pytest.raises(UsageError):
        nothing.revoke("fs.read")


def test_a_child_without_its_own_has_what_its_parent_has():
    root = CapabilityContext("root")
    child = root.child("guest").child("deeper")
    assert not child.allowed("mail")
    root.grant("mail", uses=1)
    child.use("mail")
    assert not root.allowed("mail")


def test_a_child_that_does_not_inherit_has_its_own_alone():
    root = CapabilityContext("root")
    mail, _ = root.grant("mail"), root.grant("fs.read")
    child = root.child("guest", [mail], inherit=False)
    assert child.allowed("mail")
    assert not child.allowed("fs.read")
    assert child.types() == ("mail",)
    assert root.types() == ("fs.read", "mail")
    assert not root.child("nobody", inherit=False).child("below").allowed("mail")


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"resources": "/data/**"},
        {"resources": "/**", "operations": "read", "uses": 3},
        {"resources": "/data/a/**", "operations": ("read", "write"), "uses": 3},
        {"resources": "/data/a/**", "operations": "read", "uses": 4},
        {"resources": "/data/a/**", "operations": "read"},
        {"resources": "/data/a/**", "operations": "read", "uses": 3, "fold_case": True},
        {"resources": "/data/a/**", "hosts": "x.com", "operations": "read", "uses": 3},
    ],
)
def test_a_broader_token_is_refused_below(bounds):
    root = CapabilityContext("root")
    root.grant("fs", resources="/data/**", operations="read", uses=3)
    token = CapabilityToken("fs", CapabilityConstraint(**bounds))
    with pytest.raises(CapabilityDenied) as caught:
        root.child("guest", [token])
    assert "goes beyond" in caught.value.reason
    guest = root.child("guest")
    with pytest.raises(CapabilityDenied):
        guest.add_capability(token)
    assert guest.tokens() == root.tokens()
    assert len(root.violations) == 2


def test_a_type_that_is_not_held_above_is_refused_below():
    root = CapabilityContext("root")
    root.grant("fs")
    with pytest.raises(CapabilityDenied):
        root.child("guest", [CapabilityToken("net")])


def test_a_new_token_that_one_above_covers_counts_against_it():
    root = CapabilityContext("root")
    held = root.grant("fs", resources="/data/**", uses=3)
    less = CapabilityToken("fs", CapabilityConstraint(resources="/data/a/**", uses=3))
    child = root.child("guest", [less])
    child.use("fs", "/data/a/x")
    root.use("fs", "/data/b")
    assert held.uses == 2
    child.use("fs", "/data/a/x")
    with pytest.raises(CapabilityDenied) as caught:
        child.use("fs", "/data/a/x")
    assert held.id in caught.value.reason
    assert less.uses == 2


def test_links_that_are_followed_above_are_followed_below():
    root = CapabilityContext("root")
    root.grant("fs", resources="/data/**", resolve_symlinks=True)
    bounds = {"resources": "/data/a/**"}
    with pytest.raises(CapabilityDenied):
        root.child("guest", [CapabilityToken("fs", CapabilityConstraint(**bounds))])
    bounds["resolve_symlinks"] = True
    assert root.child("guest", [CapabilityToken("fs", CapabilityConstraint(**bounds))]).types()


@pytest.mark.parametrize(
    "beyond",
    [
        {"resources": "/**"}, {"resources": "/data/../**"}, {"uses": 4}, {"max_bytes": 11},
        {"operations": ("read", "write")}, {"expires_at": 2e9}, {"total_bytes": 101},
        {"memory_mb": 65}, {"cpu_s": 2.5}, {"hosts": "**", "ports": 1},
    ],
)  # fmt: skip
def test_narrowing_does_not_go_beyond(beyond):
    token = CapabilityToken(
        "fs",
        CapabilityConstraint(
            resources="/data/**", operations="read", uses=3, max_bytes=10, total_bytes=100,
            memory_mb=64, cpu_s=2, expires_at=1e9,
        ),
    )  # fmt: skip
    with pytest.raises(CapabilityDenied, match="goes beyond"):
        token.narrow(**beyond)


def test_what_narrowing_does_not_name_goes_on_to_hold():
    root = CapabilityContext("root")
    token = root.grant("net", hosts="api.example.com", ports=443, uses=5)
    twice = token.narrow(resources="/v1/**").narrow(uses=1)
    child = root.child("guest", [twice])
    assert not child.allowed("net", "https://evil.com/v1/x")
    assert not child.allowed("net", "http://api.example.com/v1/x")
    assert not child.allowed("net", "https://api.example.com/v2/x")
    child.use("net", "https://api.example.com/v1/x")
    assert (token.uses, twice.uses) == (1, 1)
    assert not child.allowed("net", "https://api.example.com/v1/x")


def test_a_narrowed_token_still_follows_links_where_its_parent_did(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    root = CapabilityContext("root")
    token = root.grant("fs", resources=f"{tmp_path}/**", resolve_symlinks=True)
    child = root.child("guest", [token.narrow(resources=f"{tmp_path}/a/**")])
    assert root.allowed("fs", f"{tmp_path}/a/link/x")
    assert not child.allowed("fs", f"{tmp_path}/a/link/x")


@pytest.mark.parametrize("end", ["used up", "expired", "revoked"])
def test_a_child_whose_token_has_ended_does_not_fall_back_to_a_broader_parent(end):
    root = CapabilityContext("root")
    wide = root.grant("fs")
    bounds = {"used up": {"uses": 1}, "expired": {"expires_at": 1.0}, "revoked": {}}[end]
    child = root.child("guest", [wide.narrow(**bounds)])
    if end == "used up":
        child.use("fs")
    if end == "revoked":
        child.revoke("fs")
    assert not child.allowed("fs")
    assert not child.child("deeper").allowed("fs")
    with pytest.raises(CapabilityDenied) as caught:
        child.use("fs")
    assert end in caught.value.reason
    assert root.allowed("fs")


def test_of_several_tokens_of_a_type_any_may_admit_and_one_is_used():
    root = CapabilityContext("root")
    first = root.grant("fs", resources="/a/**", uses=1)
    second = root.grant("fs", resources="/**", operations="read")
    third = root.grant("fs", resources="/a/**", uses=1)
    root.use("fs", "/a/x", operation="write")
    root.use("fs", "/b", operation="read")
    root.use("fs", "/a/x", operation="write")
    assert (first.uses, second.uses, third.uses) == (1, 1, 1)
    with pytest.raises(CapabilityDenied) as caught:
        root.use("fs", "/a/x", operation="write")
    assert "used up" in caught.value.reason
    assert "write" in caught.value.reason
    assert root.tokens("fs") == (first, second, third)
    assert caught.value.held == tuple(map(str, (first, second, third)))


def test_a_token_held_twice_is_counted_once():
    root = CapabilityContext("root")
    token = root.grant("mail", uses=2)
    root.add_capability(token)
    child = root.child("guest", [token])
    grandchild = child.child("deeper", [token])
    grandchild.use("mail")
    assert token.uses == 1
    assert root.tokens() == (token,)


def test_revoking_reaches_everything_the_token_was_handed_on_to():
    root = CapabilityContext("root")
    token, other = root.grant("fs", resources="/**"), root.grant("fs", resources="/other/**")
    narrowed = token.narrow(uses=10)
    child = root.child("a", [narrowed])
    covered = root.child("b", [CapabilityToken("fs", CapabilityConstraint(resources="/x"))])
    same = child.child("c", [narrowed.narrow(resources="/x")])
    apart = CapabilityContext("another root", tokens=[narrowed])
    for context in (child, covered, same, apart):
        context.use("fs", "/x")
    root.revoke(token)
    for context in (root, child, covered, same, apart):
        assert not context.allowed("fs", "/x")
    assert narrowed.revoked
    assert root.allowed("fs", "/other/x")
    assert not other.revoked


def test_a_token_is_revoked_by_its_id_also_where_it_was_only_handed_on():
    root = CapabilityContext("root")
    token = root.grant("fs")
    narrowed = token.narrow()
    child = root.child("guest", [narrowed])
    root.revoke(narrowed.id)
    assert not child.allowed("fs")
    assert root.allowed("fs")
    root.revoke(token.id)
    assert not root.allowed("fs")


def test_a_child_takes_nothing_away_from_its_parent():
    root = CapabilityContext("root")
    first, second = root.grant("fs"), root.grant("fs", uses=5)
    child = root.child("guest")
    child.revoke(first)
    assert child.tokens("fs") == (second,)
    child.revoke("fs")
    assert not child.allowed("fs")
    assert not child.child("deeper").has_capability("fs")
    assert root.allowed("fs")
    assert [first.revoked, second.revoked] == [False, False]


def test_what_a_context_lets_go_of_is_gone_below_it_too():
    root = CapabilityContext("root")
    token = root.grant("fs")
    middle = root.child("middle")
    below = middle.child("below", [token.narrow()])
    deeper = below.child("deeper", [CapabilityToken("fs", CapabilityConstraint(uses=9))])
    beside = root.child("beside", [token.narrow()])
    deeper.use("fs")
    middle.revoke(token)
    for context in (middle, below, deeper, middle.child("late")):
        assert not context.allowed("fs")
    for context in (root, beside):
        assert context.allowed("fs")
    with pytest.raises(CapabilityDenied):
        middle.child("late", [token])


def test_letting_go_of_one_inherited_token_after_another_leaves_the_parents_alone():
    root = CapabilityContext("root")
    first, second = root.grant("fs"), root.grant("fs")
    child = root.child("guest")
    child.revoke(first)
    child.revoke(second)
    assert not child.allowed("fs")
    assert [first.revoked, second.revoked] == [False, False]


def test_a_context_revokes_only_what_it_holds_or_handed_on():
    root, stranger = CapabilityContext("root"), CapabilityContext("stranger")
    token = stranger.grant("fs")
    for named in (token, token.id, "fs"):
        with pytest.raises(UsageError, match="neither holds"):
            root.revoke(named)
    assert stranger.allowed("fs")


def test_a_closed_context_allows_nothing_to_whoever_still_holds_it():
    root = CapabilityContext("root")
    token = root.grant("fs")
    child = root.child("guest", [token])
    deeper = child.child("deeper")
    child.close()
    child.close()
    for context in (child, deeper):
        with pytest.raises(CapabilityDenied, match="closed"):
            context.use("fs")
    assert root.allowed("fs")
    assert token.uses == 0


def test_a_scope_makes_a_context_current_and_ends():
    outer, inner = CapabilityContext("outer"), CapabilityContext("inner")
    before = current_context()
    with outer.scope() as entered:
        assert entered is current_context() is outer
        with outer.scope(inner):
            assert current_context() is inner
        assert current_context() is outer
        assert Capabilities().child("guest").parent_context is outer
    assert current_context() is before


def test_a_context_and_the_module_wide_checker_are_checkers():
    assert isinstance(CapabilityContext("root"), CapabilityChecker)
    assert isinstance(Capabilities(), CapabilityChecker)


def test_the_module_wide_checker_asks_the_current_context():
    root = CapabilityContext("root")
    token = root.grant("fs", uses=1)
    checker = Capabilities()
    with checker.scope(root):
        assert checker.allowed("fs")
        checker.use("fs")
        assert not checker.allowed("fs")
        checker.revoke(token)
    assert token.revoked


@pytest.fixture
def events():
    seen: list[Violation] = []
    before = set_sink(lambda event: seen.append(event) if isinstance(event, Violation) else None)
    yield seen
    set_sink(before)


def test_a_refusal_is_on_record_with_place_wanted_and_held(events):
    root = CapabilityContext("root")
    root.grant("fs.read", resources="/data/**")
    child = root.child("guest")
    line = test_a_refusal_is_on_record_with_place_wanted_and_held.__code__.co_firstlineno + 5
    with pytest.raises(CapabilityDenied) as caught:
        child.use("fs.read", "/etc/passwd", operation="open")
    [violation] = root.violations
    assert child.violations == [violation]
    assert violation.context == "root/guest"
    assert violation.wanted == "fs.read open on '/etc/passwd'"
    assert violation.held == ("fs.read(resources=/data/**)",)
    assert "/etc/passwd" in violation.reason
    file, _, number = violation.location.rpartition(":")
    assert file.endswith("test_cap_contexts.py")
    assert line <= int(number) <= line + 2
    [event] = events
    assert (event.rule, event.subject, event.location) == (
        "capability",
        "fs.read",
        violation.location,
    )
    for part in ("wanted fs.read open", "held fs.read(resources=/data/**)", "root/guest"):
        assert part in event.detail
    assert not event.fails
    assert caught.value.location == violation.location


def test_asking_whether_it_is_allowed_records_nothing(events):
    root = CapabilityContext("root")
    assert not root.allowed("fs.read", "/etc/passwd")
    assert root.violations == []
    assert events == []


def test_a_flood_of_refusals_fills_neither_memory_nor_record(events):
    root = CapabilityContext("root")
    for _ in range(10_100):
        root.refuse("fs.read", "/x", reason="because")
    assert root.violation_count == 10_100
    assert len(root.violations) == 10_000
    assert len(events) % 1_000 == 0
    assert len(events) < 10_100
    assert "counted, not recorded" in events[999].detail


def test_the_error_is_a_permission_error_that_survives_pickling():
    root = CapabilityContext("root")
    root.grant("fs", resources="/a")
    with pytest.raises(PermissionError) as caught:
        root.use("fs", "/b", operation="open")
    assert isinstance(caught.value, WindtunnelError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert (again.capability, again.resource, again.operation) == ("fs", "/b", "open")
    assert (again.reason, again.location, again.held) == (
        caught.value.reason, caught.value.location, caught.value.held,
    )  # fmt: skip


def test_a_token_does_not_change_and_is_not_copied():
    token = CapabilityToken("fs", CapabilityConstraint(uses=1))
    for name in ("type", "constraints", "id", "parent", "account", "anything"):
        with pytest.raises(AttributeError):
            setattr(token, name, None)
    with pytest.raises(AttributeError):
        del token.type
    assert copy.copy(token) is copy.deepcopy(token) is token
    with pytest.raises(TypeError, match="seal"):
        pickle.dumps(token)


def test_what_is_no_token_is_not_held():
    root = CapabilityContext("root")
    for given in ("fs.read", None, object()):
        with pytest.raises(UsageError):
            root.add_capability(given)
    with pytest.raises(UsageError):
        CapabilityContext("guest", "root")
    with pytest.raises(UsageError):
        CapabilityToken("fs", ["/data"])
    with pytest.raises(UsageError):
        CapabilityToken("fs").narrow(CapabilityConstraint(uses=1), uses=1)


def test_representations_say_what_is_held():
    root = CapabilityContext("root")
    assert repr(root) == "<CapabilityContext root: nothing>"
    token = root.grant("net", hosts=("a.com", "b.com"), ports=("80-90", 443), cpu_s=1.5)
    assert str(token) == "net(hosts=a.com|b.com, ports=80-90|443, cpu_s=1.5)"
    assert token.id in repr(token)
    assert str(token) in repr(root)
