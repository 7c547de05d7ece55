"""What a node refuses shows as a failure of the source, is tried again ever more rarely, and heals by itself."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Site, wait_for

from engine.agent.ship import shipper as ship
from engine.agent.ship.client import Head
from engine.model.errors import Refused, Unauthenticated, Unreachable


def test_a_batch_that_is_refused_shows_until_it_is_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ship, "REFUSED_RETRY_SECONDS_FIRST", 0.1)
    (site.tree / "f").write_bytes(b"1")
    source = site.start()
    assert source.report()["state"] == "protected"
    site.node.refuse = True
    (site.tree / "f").write_bytes(b"2")
    wait_for(lambda: source.report()["state"] == "failed")
    assert source.report()["message"] == "the node refuses"
    site.node.refuse = False
    wait_for(lambda: source.report()["state"] == "protected")
    wait_for(lambda: site.image().get(b"/f", b"")[-1:] == (b"2",))
    assert source.report()["message"] == ""


def test_a_stream_that_is_not_opened_shows_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refusing = site.node.open_stream, True

    def open_stream(*arguments: Any) -> Head:
        if refusing:
            raise Unauthenticated("the certificate of agent 'h' was revoked")
        return real(*arguments)

    monkeypatch.setattr(site.node, "open_stream", open_stream)
    source = site.start(wait=False)
    wait_for(lambda: source.report()["state"] == "failed")
    assert source.report()["message"] == "the certificate of agent 'h' was revoked"
    refusing = False
    wait_for(lambda: source.report()["state"] == "protected")


def test_what_is_refused_for_good_is_tried_ever_more_rarely() -> None:
    patience = [ship._patience(error) for error in (Unreachable(""), Refused(""), Unauthenticated(""), OSError())]
    assert patience == [2.0, 60.0, 5.0, 2.0]


def test_a_mark_that_is_asked_for_again_is_told_again_and_not_made_again(site: Site) -> None:
    source = site.start()
    source.ask_mark("m1", "before")
    wait_for(lambda: source.view.marks_done == ["m1"])
    source.ask_mark("m1", "before")
    assert source.view.marks_done == ["m1"]
    source.forget_marks(["m1"])
    assert source.view.marks_done == []
    source.ask_mark("m1", "before")
    assert source.view.marks_done == ["m1"]
    assert len(site.node.marks_of("bookmark")) == 1
