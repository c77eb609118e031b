"""Tokens outside the process: made only with the key, opened once, revoked all the same."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.core import UsageError
from windtunnel.sessions import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityDenied,
    CapabilityToken,
    SealLedger,
    seal,
    unseal,
)

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
FULL = CapabilityConstraint(
    resources=("/data/**", "/x/?.csv"), hosts=("*.example.com", "10.0.0.0/8"), ports=(80, "90-99"),
    operations="read", uses=5, total_bytes=10, max_bytes=7, memory_mb=0.1, cpu_s=1.25,
    expires_at=2e9 + 0.1, fold_case=True,
)  # fmt: skip


def token(**bounds: object) -> CapabilityToken:
    return CapabilityToken("fs.read", CapabilityConstraint(**bounds))  # type: ignore[arg-type]


def refused(text: object, key: object = KEY, **more: object) -> str:
    with pytest.raises(CapabilityDenied) as caught:
        unseal(text, key, **more)  # type: ignore[arg-type]
    return caught.value.reason


def signed_anew(text: str, change: object, key: bytes = OTHER) -> str:
    """The text with its content changed, by who knows everything but the key."""
    import hashlib
    import hmac

    version, name, payload, _ = text.split(".")
    content = json.loads(base64.urlsafe_b64decode(payload + "=="))
    change(content)  # type: ignore[operator]
    payload = base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
    signed = f"{version}.{name}.{payload}"
    made = hmac.digest(key, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


def test_a_sealed_token_is_the_same_token_where_it_is_known():
    made = token(uses=2)
    text = seal(made, KEY)
    assert unseal(text, KEY) is made
    assert text.isascii()
    assert KEY.hex() not in text


def test_elsewhere_it_has_the_same_bounds_line_and_counts():
    root = CapabilityContext("root")
    made = root.add_capability(CapabilityToken("fs.read", FULL))
    made.account.uses = 2
    narrowed = made.narrow(uses=1)
    there = unseal(seal(narrowed, KEY), KEY, ledger=SealLedger())
    assert there is not narrowed
    assert there.parent.constraints == (FULL,)
    assert there.constraints == narrowed.constraints
    assert (there.id, there.parent.id, there.type) == (narrowed.id, made.id, "fs.read")
    assert (there.uses, there.parent.uses) == (0, 2)


def test_opened_twice_it_is_refused():
    text = seal(token(), KEY)
    unseal(text, KEY)
    assert "opened before" in refused(text)


def test_two_seals_of_a_token_share_its_uses():
    made = token(uses=3)
    ledger = SealLedger()
    texts = [seal(made, KEY) for _ in range(2)]
    contexts = [
        CapabilityContext("there", tokens=[unseal(text, KEY, ledger=ledger)]) for text in texts
    ]
    contexts[0].use("fs.read")
    contexts[1].use("fs.read")
    contexts[0].use("fs.read")
    for context in contexts:
        assert not context.allowed("fs.read")


def test_sealing_again_brings_no_uses_back():
    made = token(uses=1)
    early = seal(made, KEY)
    ledger = SealLedger()
    there = CapabilityContext("there", tokens=[unseal(seal(made, KEY), KEY, ledger=ledger)])
    there.use("fs.read")
    again = CapabilityContext("again", tokens=[unseal(early, KEY, ledger=ledger)])
    assert not again.allowed("fs.read")


@pytest.mark.parametrize("which", ["itself", "what it was narrowed from"])
def test_revoking_reaches_a_token_that_was_sealed_before(which):
    root = CapabilityContext("root")
    made = root.grant("fs.read")
    narrowed = made.narrow(uses=9)
    opened_before, opened_after = seal(narrowed, KEY), seal(narrowed, KEY)
    before = CapabilityContext("before", tokens=[unseal(opened_before, KEY)])
    before.use("fs.read")
    root.revoke(narrowed if which == "itself" else made)
    after = CapabilityContext("after", tokens=[unseal(opened_after, KEY)])
    for context in (before, after):
        with pytest.raises(CapabilityDenied, match="revoked"):
            context.use("fs.read")


def test_a_token_that_was_revoked_or_had_expired_is_so_elsewhere():
    root = CapabilityContext("root")
    made = root.grant("fs.read")
    root.revoke(made)
    there = unseal(seal(made, KEY), KEY, ledger=SealLedger())
    assert not CapabilityContext("there", tokens=[there]).allowed("fs.read")


def test_without_the_key_none_is_made_and_none_is_changed():
    text = seal(token(resources="/data/**"), KEY)
    assert "broken" in refused(text, OTHER)

    def widen(content):
        content["chain"][0]["constraints"] = []

    for key in (OTHER, b"", bytes(32)):
        assert "broken" in refused(signed_anew(text, widen, key))
    head, _, signature = text.rpartition(".")
    other_head, _, other_signature = seal(token(), KEY).rpartition(".")
    assert "broken" in refused(f"{head}.{other_signature}")
    assert "broken" in refused(f"{other_head}.{signature}")
    unseal(text, KEY)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_text_with_any_one_character_changed_is_refused(data):
    text = seal(token(), KEY)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("aA0_-.=+ \n\0é"))
    if other == text[at]:  # the text is another each time: what is drawn must not depend on it
        other = "b"
    how = data.draw(st.sampled_from(["replaced", "inserted", "deleted"]))
    skipped = {"replaced": 1, "inserted": 0, "deleted": 1}[how]
    changed = text[:at] + ("" if how == "deleted" else other) + text[at + skipped :]
    assert "broken" in refused(changed)
    unseal(text, KEY)  # a refused forgery does not use up the true one


@pytest.mark.parametrize(
    "text", ["", "wt1", "wt1...", None, b"wt1", 7, "wt2." + "a" * 60, "wt1." + "a" * 100_000]
)
def test_what_is_no_seal_is_refused(text):
    assert "broken" in refused(text)


def test_a_refused_seal_is_on_record():
    with CapabilityContext("root").scope() as root:
        refused("nonsense")
    [violation] = root.violations
    assert (violation.capability, violation.operation) == ("sealed token", "unseal")


def test_keys_are_changed_without_a_gap():
    old, new = seal(token(), KEY), seal(token(), [OTHER, KEY])
    unseal(old, [OTHER, KEY])
    unseal(new, [OTHER])
    late = seal(token(), KEY)
    assert "broken" in refused(late, [OTHER])


@pytest.mark.parametrize("key", [b"", b"short", "text" * 9, [], [KEY, b"short"], bytearray(32)])
def test_a_key_that_is_none_is_an_error(key):
    with pytest.raises(UsageError):
        seal(token(), key)
    with pytest.raises(UsageError):
        unseal("wt1", key)


def test_a_seal_is_for_its_audience():
    for sealed_for, opened_by in (("worker-1", "worker-2"), ("worker-1", ""), ("", "worker-1")):
        text = seal(token(), KEY, audience=sealed_for)
        assert "audience" in refused(text, audience=opened_by)
        unseal(text, KEY, audience=sealed_for)


def test_a_seal_is_opened_in_time():
    class Clock:
        now = 100.0

        def time(self):
            return self.now

    clock = Clock()
    with CapabilityContext("root", clock=clock).scope():
        early, late = (seal(token(), KEY, valid_s=5) for _ in range(2))
        clock.now = 104.9
        unseal(early, KEY)
        clock.now = 105.0
        assert "expired" in refused(late)


def test_processes_that_share_a_folder_open_a_seal_once_among_them(tmp_path):
    text = seal(token(), KEY)
    assert unseal(text, KEY, ledger=SealLedger(tmp_path))
    assert "opened before" in refused(text, ledger=SealLedger(tmp_path))
    code = (
        "from windtunnel.sessions import SealLedger, unseal, CapabilityDenied\n"
        f"try: unseal({text!r}, {KEY!r}, ledger=SealLedger({str(tmp_path)!r}))\n"
        "except CapabilityDenied as denied: print(denied.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "opened before" in done.stdout


def test_a_content_of_another_version_is_refused_and_no_crash():
    text = seal(token(), KEY)
    # As a later version with the same key would write it.
    from windtunnel.sessions.capabilities import sealed

    def add(content):
        content["chain"][0]["constraints"] = [{"phase_of_the_moon": "full"}]

    version, name, payload, _ = signed_anew(text, add).split(".")
    signed = f"{version}.{name}.{payload}"
    newer = f"{signed}.{sealed._signature(KEY, signed)}"
    assert "this version" in refused(newer, ledger=SealLedger())


def test_an_id_that_two_tokens_have_is_not_sealed():
    first, second = CapabilityToken("a", id="same"), CapabilityToken("b", id="same")
    ledger = SealLedger()
    seal(first, KEY, ledger=ledger)
    with pytest.raises(UsageError, match="same id"):
        seal(second, KEY, ledger=ledger)


def test_an_unsealed_token_is_bounded_by_a_context_like_every_other():
    wide = unseal(seal(token(), KEY), KEY)
    root = CapabilityContext("root")
    root.grant("fs.read", resources="/data/**")
    with pytest.raises(CapabilityDenied, match="goes beyond"):
        root.child("guest", [wide])
