"""Tokens: made once, kept as hashes, ended at once, and not to be made by writing to the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.journal import documents
from engine.journal.open import Journal, open_local
from engine.model.errors import Damaged, NothingThere, Refused, UsageError
from engine.node.callers import tokens
from engine.node.callers.users import User, Users, secret_hash
from tests.unit.engine.node.conftest import TurnedClock

HOUR = 3_600_000_000


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return open_local(tmp_path / "journal", b"\x07" * 32, create=True)


@pytest.fixture
def users(tmp_path: Path, journal: Journal, clock: TurnedClock) -> Users:
    return Users(journal, tmp_path / "admins", clock)


def test_a_token_stands_for_its_user_until_it_ends(users: Users, clock: TurnedClock) -> None:
    token, text = users.create("ci", "on-call", clock.now() + HOUR, "root")
    assert text.startswith(f"bcs_{token.id}_") and users.who(text) == User("on-call", "ci")
    clock.at += HOUR - 1
    assert users.who(text) is not None
    clock.at += 1
    assert users.who(text) is None
    assert users.all()[0].as_json(clock.now())["state"] == "expired"


def test_a_revoked_token_counts_no_more_here_and_soon_at_other_nodes(
    tmp_path: Path, journal: Journal, users: Users, clock: TurnedClock
) -> None:
    other = Users(journal, tmp_path / "admins", clock)
    _, text = users.create("ci", "", 0, "root")
    assert other.who(text) is None
    other.refresh()
    assert other.who(text) == User("", "ci")
    users.revoke("ci", "root")
    assert users.who(text) is None
    other.refresh()
    assert other.who(text) is None
    with pytest.raises(NothingThere):
        users.revoke("ci", "root")


def test_a_name_is_free_again_once_its_token_has_ended(users: Users, clock: TurnedClock) -> None:
    users.create("ci", "", clock.now() + HOUR, "root")
    with pytest.raises(Refused, match="'ci' already"):
        users.create("ci", "", 0, "root")
    clock.at += HOUR
    _, text = users.create("ci", "", 0, "root")
    assert users.who(text) == User("", "ci")


@pytest.mark.parametrize("name", ["", "a/b", "admins/root", "A", "-x", "x" * 64, "a b", "..", "a\n"])
def test_names_that_are_none(users: Users, name: str) -> None:
    with pytest.raises(UsageError):
        users.create(name, "", 0, "root")


def test_a_token_that_would_have_ended_is_not_made(users: Users, clock: TurnedClock) -> None:
    with pytest.raises(UsageError):
        users.create("ci", "", clock.now(), "root")
    assert users.all() == []


@pytest.mark.parametrize("change", [lambda text: text[:-1], str.upper, lambda text: text + " ", lambda text: ""])
def test_no_other_text_will_do(users: Users, change: Callable[[str], str]) -> None:
    _, text = users.create("ci", "", 0, "root")
    assert users.who(change(text)) is None
    assert users.who("x" * 1_000_000) is None


def test_the_secret_is_nowhere_in_the_journal(tmp_path: Path, users: Users, clock: TurnedClock) -> None:
    token, text = users.create("ci", "on-call", 0, "root")
    secret = text.rpartition("_")[2].encode()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "journal").rglob("*") if path.is_file())
    assert token.id.encode() in kept and secret not in kept
    assert text not in json.dumps(token.as_json(clock.now())) and token.hash not in json.dumps(token.as_json(0))


def test_who_can_write_to_the_store_can_make_no_token(journal: Journal, users: Users) -> None:
    forged = {
        "act": "create", "id": "aa", "name": "mine", "user": "root", "hash": secret_hash("bcs_aa_mine"),
        "created_at": 1, "expires_at": 0, "by": "root",
    }  # fmt: skip
    _, text = users.create("ci", "", 0, "root")
    documents.take_next(journal.store, tokens.PREFIX, {**forged, "seal": "00"})
    with pytest.raises(Damaged, match="not written by this site"):
        users.refresh()
    assert users.who("bcs_aa_mine") is None
    assert users.who(text) is not None  # what was known before stays


def test_an_act_that_is_gone_may_have_ended_a_token(journal: Journal, users: Users, tmp_path: Path) -> None:
    _, text = users.create("ci", "", 0, "root")
    users.create("other", "", 0, "root")
    users.revoke("ci", "root")
    (tmp_path / "journal" / tokens.PREFIX / "00000002.json").unlink()
    other = Users(journal, tmp_path / "admins", users.clock)
    with pytest.raises(Damaged, match="not there any more"):
        other.refresh()
    assert other.who(text) is None


def test_a_copied_act_does_not_undo_a_later_one(journal: Journal, users: Users, tmp_path: Path) -> None:
    """Whoever can write to the store copies the object that made a token behind the one that ended it."""
    _, text = users.create("ci", "", 0, "root")
    users.revoke("ci", "root")
    made = documents.get(journal.store, f"{tokens.PREFIX}00000001.json")
    documents.put_number(journal.store, tokens.PREFIX, 3, {**made, "number": 3})
    other = Users(journal, tmp_path / "admins", users.clock)
    with pytest.raises(Damaged, match="not written by this site"):
        other.refresh()
    assert other.who(text) is None


def test_an_end_that_was_read_and_is_gone_is_missed(journal: Journal, users: Users, tmp_path: Path) -> None:
    _, text = users.create("ci", "", 0, "root")
    users.revoke("ci", "root")
    (tmp_path / "journal" / tokens.PREFIX / "00000002.json").unlink()
    with pytest.raises(Damaged, match="not there any more"):
        users.refresh()
    assert users.who(text) is None


def test_operators_whose_hashes_were_deployed(tmp_path: Path, users: Users) -> None:
    assert users.who("secret") is None
    admins = tmp_path / "admins"
    admins.mkdir()
    (admins / "alice.sha256").write_text(secret_hash("secret") + "\n")
    (admins / "broken.sha256").write_text("nonsense")
    (admins / "folder.sha256").mkdir()
    assert users.who("secret") == User("alice", "admins/alice")
    (admins / "alice.sha256").unlink()
    assert users.who("secret") is None
