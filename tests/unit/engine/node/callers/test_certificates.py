"""Enrolments, renewals and revocations, as two nodes of a site see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.env.clock import Clock
from engine.format import documents
from engine.identity import requests
from engine.identity.authority import Issued, issue_to_host
from engine.journal import documents as documents_of
from engine.journal import sealed
from engine.journal.authority import ensure_authority, read_authority
from engine.journal.check import check
from engine.journal.open import Journal, open_local
from engine.model.errors import Damaged, Refused, Unauthenticated, UsageError
from engine.node.api.bodies import Busy
from engine.node.callers.certificates import ENROLMENTS, ISSUED_A_MINUTE, REVOCATIONS, Certificates

KEY = bytes(range(32))
WEEK = 7 * 24 * 3600


class Turned(Clock):
    """A clock that a test turns."""

    at = 1_790_000_000_000_000

    def now(self) -> int:
        self.at += 1
        return self.at


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def journal(tmp_path: Path, clock: Turned) -> Iterator[Journal]:
    with open_local(tmp_path / "journal", KEY, create=True, clock=clock) as journal:
        yield journal


@pytest.fixture
def nodes(journal: Journal, clock: Turned) -> tuple[Certificates, Certificates]:
    authority = ensure_authority(journal, "sf", clock)
    assert ensure_authority(journal, "sf", clock).pem == authority.pem
    first, second = (Certificates(journal, authority, "sf", WEEK, clock) for _ in range(2))
    return first, second


def csr(host: str = "h") -> str:
    return requests.request(requests.new_key(), host)


def test_one_authority_a_journal_and_for_its_site_alone(journal: Journal, clock: Turned, tmp_path: Path) -> None:
    assert read_authority(journal) is None
    made = ensure_authority(journal, "sf", clock)
    with open_local(tmp_path / "journal", KEY, clock=clock) as again:
        found = read_authority(again)
        assert found is not None and found.key.private_numbers() == made.key.private_numbers()
    with pytest.raises(Refused, match="is that of site 'sf', not of 'lu'"):
        ensure_authority(journal, "lu", clock)
    content = (tmp_path / "journal" / "keys" / "ca" / "1.json").read_bytes()
    assert made.key.private_numbers().private_value.to_bytes(32, "big").hex().encode() not in content


def test_an_enrolment_made_at_one_node_counts_at_another_once(nodes: tuple[Certificates, Certificates]) -> None:
    first, second = nodes
    token, _ = first.enrolment("h", 60, "root")
    asked = csr()
    issued = second.enrol(token, "h", asked)
    assert [each.host for each in second.known()] == ["h"] and not first.known()
    assert first.enrol(token, "h", asked).serial != issued.serial  # the same key: the answer may have been lost
    with pytest.raises(Unauthenticated, match="was used already"):
        first.enrol(token, "h", csr())


@pytest.mark.parametrize("token", ["", "x", "bcse_1", "bcse_1_", "bcse_99_aa", "bcse_٣_aa", "bcse_999999999_aa"])
def test_what_is_no_token_is_refused(nodes: tuple[Certificates, Certificates], token: str) -> None:
    nodes[0].enrolment("h", 60, "root")
    with pytest.raises(Unauthenticated, match="nobody was given"):
        nodes[0].enrol(token, "h", csr())


@pytest.mark.parametrize("seconds", [0, -1, 8 * 24 * 3600])
def test_enrolments_last_for_bounded_times(nodes: tuple[Certificates, Certificates], seconds: int) -> None:
    with pytest.raises(UsageError):
        nodes[0].enrolment("h", seconds, "root")


def test_a_revocation_reaches_the_other_node_and_holds_for_what_was_before(
    nodes: tuple[Certificates, Certificates], clock: Turned
) -> None:
    first, second = nodes
    token, _ = first.enrolment("h", 600, "root")
    before = first.enrol(token, "h", csr())
    pending, _ = first.enrolment("h", 600, "root")
    first.revoke("h", "root")
    assert not second.revoked_at("h")
    second.refresh()
    assert before.issued_at <= second.revoked_at("h") == first.revoked_at("h")
    with pytest.raises(Unauthenticated, match="was revoked after"):
        second.enrol(pending, "h", csr())
    clock.at -= 60_000_000  # another node's clock is a minute behind
    later = second.renew("h", csr(), second.revoked_at("h") + 1)
    assert later.issued_at > second.revoked_at("h")
    assert second.certified()["h"].revoked_at is None
    second.revoke("h", "root")
    assert second.certified()["h"].revoked_at == second.revoked_at("h") >= later.issued_at


def test_no_certificate_that_was_revoked_is_renewed(
    nodes: tuple[Certificates, Certificates], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = nodes
    token, _ = first.enrolment("h", 600, "root")
    held = first.enrol(token, "h", csr()).issued_at
    written = sealed.take_next

    def renewed_meanwhile(journal: Journal, prefix: str, told: dict[str, object]) -> int:
        if prefix == REVOCATIONS:  # the revocation has its time, and is not written yet
            with pytest.raises(Unauthenticated, match="was revoked after"):
                first.renew("h", csr(), held)
        return written(journal, prefix, told)

    monkeypatch.setattr(sealed, "take_next", renewed_meanwhile)
    first.revoke("h", "root")
    with pytest.raises(Unauthenticated, match="was revoked after"):
        first.renew("h", csr(), held)  # the request began before: its sender kept the body back
    with pytest.raises(Unauthenticated, match="was revoked after"):
        second.renew("h", csr(), held)  # a node that has not read of it yet
    monkeypatch.undo()
    token, _ = second.enrolment("h", 600, "root")
    assert second.enrol(token, "h", csr()).issued_at > first.revoked_at("h")


def test_what_is_issued_while_a_host_is_revoked_is_revoked_too(
    nodes: tuple[Certificates, Certificates], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = nodes
    token, _ = first.enrolment("h", 600, "root")
    held = first.enrol(token, "h", csr()).issued_at

    def revoked_meanwhile(*arguments: Any) -> Issued:
        first.revoke("h", "root")
        return issue_to_host(*arguments)

    monkeypatch.setattr("engine.node.callers.certificates.issue_to_host", revoked_meanwhile)
    assert first.renew("h", csr(), held).issued_at <= first.revoked_at("h")


def test_a_host_gets_so_many_certificates_a_minute(nodes: tuple[Certificates, Certificates], clock: Turned) -> None:
    token, _ = nodes[0].enrolment("h", 600, "root")
    asked = csr()
    held = min(nodes[0].enrol(token, "h", asked).issued_at for _ in range(ISSUED_A_MINUTE))
    with pytest.raises(Busy):
        nodes[0].renew("h", asked, held)
    clock.at += 60_000_000
    nodes[0].renew("h", asked, held)


def test_who_can_write_to_the_store_cant_enrol_himself(
    nodes: tuple[Certificates, Certificates], journal: Journal
) -> None:
    token, _ = nodes[0].enrolment("h", 60, "root")
    number = int(token.split("_")[1])
    fields = sealed.get(journal, ENROLMENTS, number)
    key = f"{ENROLMENTS}{number + 1:08d}.json"
    copied = documents_of.get(journal.store, f"{ENROLMENTS}{number:08d}.json")
    documents_of.put_number(journal.store, ENROLMENTS, 77, {**copied, "number": 77})
    nodes[0].enrol(token, "h", csr())
    with pytest.raises(Damaged, match="was not written by this site"):  # used, under another number
        nodes[0].enrol(f"bcse_77_{token.split('_')[2]}", "h", csr())
    forged = {**fields, "host": "victim", "seal": "0" * 64, "number": number + 1}
    journal.store.put(key, documents.encode(key, forged))
    with pytest.raises(Damaged, match="was not written by this site"):
        nodes[0].enrol(f"bcse_{number + 1}_{token.split('_')[2]}", "victim", csr("victim"))
    key = f"{REVOCATIONS}00000001.json"
    told = documents.encode(key, {"host": "h", "at": 1, "by": "x", "seal": "", "number": 1})
    journal.store.put(key, told)
    nodes[1].revoke("later", "root")
    with pytest.raises(Damaged, match="was not written by this site"):
        nodes[0].refresh()
    assert nodes[0].revoked_at("later") and not nodes[0].revoked_at("h")


def test_a_revocation_that_is_gone_is_told(
    nodes: tuple[Certificates, Certificates], journal: Journal, tmp_path: Path
) -> None:
    for host in ("a", "b"):
        nodes[0].revoke(host, "root")
    nodes[1].refresh()
    for number, left in ((2, nodes[1]), (1, nodes[0])):
        (tmp_path / "journal" / f"{REVOCATIONS}{number:08d}.json").unlink()
        with pytest.raises(Damaged, match="is not there any more"):
            left.refresh()
        assert left.revoked_at("a") and left.revoked_at("b")


def test_the_journal_is_sound_with_all_of_it(nodes: tuple[Certificates, Certificates], journal: Journal) -> None:
    for host in ("a", "b", "c"):
        token, _ = nodes[0].enrolment(host, 60, "root")
        if host != "b":
            nodes[0].enrol(token, host, csr(host))
    nodes[0].revoke("a", "root")
    assert list(check(journal).errors) == []
