"""What the recovery audit says of a fixed journal, in each format."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest

from engine.env.clock import Clock
from engine.format.names import l0_key
from engine.journal.merge import Rules, merge_due
from engine.journal.open import Journal
from engine.model.errors import NothingThere, UsageError
from engine.model.times import DAY, SECOND, format_time
from reports import build as building
from reports import strip
from reports.catalog import REPORTS, purpose, query
from reports.render import build, render, show
from reports.words import cell, printable
from tests.unit.reports.synthetic import (
    ACTS,
    BUSY,
    FORMER,
    IDLE,
    MERGED,
    NEVER,
    Synthetic,
    baseline,
    drill,
    fixed,
    minute,
    passed,
)

NAME = "recovery-audit"
ROOT = Path(__file__).parents[3]
NOW = minute(60)


class FrozenClock(Clock):
    """Stands still."""

    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


@pytest.fixture(autouse=True)
def fixed_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "versions", lambda: {"bcsctl": "0.0.0", "duckdb": "0.0.0", "python": "0.0.0"})


def structure(journal: Synthetic, **changed: Any) -> dict[str, Any]:
    asked = {"from_at": minute(-35), "to_at": NOW, "now": NOW} | changed
    return build(NAME, journal, **asked)


def by_address(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {source["address"]: source for source in report["sources"]}


@pytest.mark.parametrize("format", ["md", "json"])
def test_reads_as_the_golden_file(journal: Synthetic, golden: Callable[[str, str], None], format: str) -> None:
    golden(f"{NAME}.{format}", render(NAME, journal, from_at=minute(-35), to_at=NOW, format=format, now=NOW))


def test_the_answer_comes_first_and_names_each_exception(journal: Synthetic) -> None:
    found = structure(journal)["answer"]
    assert found["text"] == "1 of 4 sources met their objective in this period, 1 more as far as is still known."
    assert (found["met"], found["missed"], found["not_shown"], found["not_judged"]) == (1, 2, 1, 1)
    assert {one["address"] for one in found["exceptions"][1:]} == {BUSY, IDLE, NEVER, MERGED, FORMER}
    assert found["exceptions"][0]["text"] == "1 of 4 drills in this period failed; a later one passed"


def test_what_no_drill_proves_is_said_first(journal: Synthetic) -> None:
    found = build(NAME, journal, from_at=minute(-35), to_at=minute(40), now=minute(40))["answer"]
    assert found["unproven"] == ["finance"]
    assert found["text"].endswith("Unproven at its end, as no drill shows that it can be had back: finance.")
    first = found["exceptions"][0]
    assert first["verdict"] == "unproven" and "its last drill failed" in first["text"]


@pytest.mark.parametrize("format", ["md", "html"])
def test_what_a_failed_command_wrote_is_shown_by_its_last_lines(journal: Synthetic, format: str) -> None:
    shown = render(NAME, journal, from_at=minute(-35), to_at=NOW, format=format, now=NOW)
    assert "line 3\n" in shown and "line 2\n" not in shown and "it exited with 3" in shown
    assert "\x1b" not in shown and (format == "md" or "<b>" not in shown)


def test_each_source_has_the_verdict_that_its_history_deserves(journal: Synthetic) -> None:
    verdicts = {address: source["verdict"] for address, source in by_address(structure(journal)).items()}
    assert verdicts == {BUSY: "missed", IDLE: "met", NEVER: "missed", MERGED: "not-shown", FORMER: "not-judged"}


def test_an_idle_source_loses_nothing_and_a_gap_counts_from_its_begin(journal: Synthetic) -> None:
    sources = by_address(structure(journal))
    assert sources[IDLE]["rpo"]["worst_seconds"] == 0
    # The gap began at minute 29; the catch-up that closed it was durable one second after minute 31.5.
    assert sources[BUSY]["rpo"]["worst_seconds"] == 151
    assert [gap["seconds"] for gap in sources[BUSY]["gaps"]] == [150]
    assert sources[BUSY]["state_seconds"]["gap"] == 151


def test_without_its_gap_the_busy_source_meets_its_objective(journal: Synthetic) -> None:
    [busy] = [
        source
        for source in structure(journal, from_at=minute(0), to_at=minute(29), group="finance")["sources"]
        if source["address"] == BUSY
    ]
    assert busy["verdict"] == "met"
    # Ten seconds apart, the watermark says nine of them were idle; the next point is durable half a second late.
    assert busy["rpo"]["worst_seconds"] == pytest.approx(0.500001, abs=1e-6)
    assert busy["notes"] == []


def test_every_policy_that_held_is_listed_with_its_time(journal: Synthetic) -> None:
    policies = by_address(structure(journal))[BUSY]["policies"]
    assert [(one["number"], one["rpo_seconds"], one["dirty"], one["applied_by"]) for one in policies] == [
        (1, 5.0, False, "ann"),
        (2, 10.0, True, "bob <b@x.org>"),
    ]
    assert policies[0]["to"] == policies[1]["from"] == format_time(minute(20))
    assert [one["number"] for one in by_address(structure(journal, from_at=minute(30)))[BUSY]["policies"]] == [2]


def test_baseline_files_and_bytes_are_counted(journal: Synthetic) -> None:
    assert by_address(structure(journal))[BUSY]["baseline"] == {
        "at": format_time(minute(-28) - SECOND),
        "files": 3,
        "bytes": 3000,
    }


def test_restores_and_refusals_come_from_the_audit_of_the_period(journal: Synthetic) -> None:
    report = structure(journal, now=minute(120))
    assert [(one["who"], one["verified"], one["failures"]) for one in report["restores"]] == [
        ("ann", True, 0),
        ("<script>alert(1)</script>", False, 2),
        ("ann", False, 0),
        ("ann", True, 0),
        ("ann", True, 0),
    ]
    assert [(one["place"], one["refused"]) for one in report["restores"][1:]] == [
        ("directory", False),
        ("directory", True),
        ("a tar stream", False),
        ("in place", False),
    ]
    refused = {(one["what"], one["address"]): one["refusals"] for one in report["refusals"]}
    assert refused == {("batch-refused", IDLE): 2, ("batch-refused", None): 70, ("restore", BUSY): 1}


def test_drills_and_what_they_made_of_their_group_from_moment_to_moment(journal: Synthetic) -> None:
    report = structure(journal)
    assert [(one["id"][-4:], one["drill"], one["passed"]) for one in report["drills"]] == [
        (f"{minute(25):x}"[-4:], 0, True),
        (f"{minute(35):x}"[-4:], 0, False),
        (f"{minute(45):x}"[-4:], None, True),
        (f"{minute(46):x}"[-4:], 0, True),
    ]
    proofs = {one["group_name"]: one for one in report["proofs"]}
    finance = proofs["finance"]
    assert (finance["state"], finance["every_seconds"]) == ("passed", 900.0)
    assert (finance["made"], finance["passed"], finance["failed"]) == (4, 3, 1)
    lasting = {"passed": 24 * 60.0, "failed": 11 * 60.0, "stale": 0.0, "void": 0.0, "never": 5 * 60.0}
    assert finance["lasting_seconds"] == lasting
    assert (proofs["shop"]["state"], proofs["shop"]["every_seconds"], proofs["shop"]["made"]) == ("none", None, 0)


def test_drills_go_stale_and_are_void_once_the_policy_changes(tmp_path: Path) -> None:
    made = Synthetic(tmp_path, minute(0))
    for address in (IDLE, ACTS):
        made.add_stream(address, minute(0))
    asked = {"finance": [{"every": "10m"}]}
    made.apply(minute(0), {IDLE: "5s"}, None, drills=asked)
    drill(made, minute(1), "finance")
    made.apply(minute(30), {IDLE: "7s"}, None, drills=asked)
    [proof] = structure(made, from_at=minute(0), to_at=minute(40))["proofs"]
    lasting = {name: round(each) for name, each in proof["lasting_seconds"].items()}
    # Fifteen minutes: each ten, and five of grace.
    assert lasting == {"never": 60, "passed": 900, "stale": 840, "void": 600, "failed": 0}
    assert (proof["state"], proof["made"]) == ("void", 1)
    limits = " ".join(structure(made, from_at=minute(0), to_at=minute(40))["limits"])
    assert "no drill shows that finance can be had back" in limits


def test_a_group_has_its_own_sources_and_acts_only(journal: Synthetic) -> None:
    report = structure(journal, group="shop")
    assert list(by_address(report)) == [MERGED]
    assert report["restores"] == report["drills"] == []
    with pytest.raises(NothingThere, match="there is no group 'shopp'"):
        structure(journal, group="shopp")


def test_a_silent_source_is_judged_by_its_silence(journal: Synthetic) -> None:
    """An hour later nothing has been heard: the exposure has grown to all but the time that word may take."""
    idle = by_address(structure(journal, to_at=minute(120), now=minute(120)))[IDLE]
    last_word = (minute(60) - 10 * SECOND) + 9 * SECOND - 10 * SECOND
    assert idle["verdict"] == "missed"
    assert idle["rpo"]["worst_seconds"] == (minute(120) - building.GRACE - last_word) / SECOND
    assert idle["state_seconds"]["open"] == building.GRACE / SECOND


def test_what_lies_ahead_is_cut_off_and_said(journal: Synthetic) -> None:
    report = structure(journal, to_at=NOW + DAY)
    assert report["period"]["to"] == format_time(NOW)
    assert any("cut at 2026-11-22 11:00:00" in limit for limit in report["limits"])


def test_the_time_before_the_journal_and_the_missing_check_are_said(journal: Synthetic) -> None:
    limits = " ".join(structure(journal)["limits"])
    assert "The journal began at 2026-11-22 09:30:00" in limits
    assert "No check of the journal's data was recorded" in limits
    assert "The journal began" not in " ".join(structure(journal, from_at=minute(0))["limits"])


def test_an_unreadable_object_is_named(tmp_path: Path) -> None:
    made = fixed(tmp_path)
    key = l0_key("n1", 1, 1_000_000, b"no parquet")
    made.store.put(key, b"no parquet")
    made.store.put("control/policies/00000003.json", b"{}")
    limits = " ".join(structure(made)["limits"])
    assert key in limits
    assert "Applied policy 3 can't be read" in limits


def test_an_empty_journal_has_an_answer(tmp_path: Path) -> None:
    report = structure(Synthetic(tmp_path, minute(-30)))
    assert report["answer"]["text"].startswith("No source can be judged")
    for format in ("md", "html", "json"):
        assert "No source can be judged" in show(report, format)


def test_a_source_that_has_just_begun(tmp_path: Path) -> None:
    made = Synthetic(tmp_path, minute(0))
    made.add_stream(IDLE, minute(0))
    made.apply(minute(0) + SECOND, {IDLE: "5s"}, None)
    begun = minute(0) + 10 * SECOND
    assert structure(made, now=begun)["sources"][0]["verdict"] == "missed"
    made.commit(minute(0) + 4 * SECOND, {IDLE: baseline(minute(0) + 3 * SECOND, 1)})
    assert structure(made, now=begun)["answer"]["text"].startswith("No source can be judged yet")
    made.commit(minute(0) + 9 * SECOND, {}, {IDLE: minute(0) + 8 * SECOND})
    report = structure(made, now=begun)
    assert report["answer"]["text"] == "1 of 1 source met its objective in this period."
    assert report["sources"][0]["state_seconds"]["unprotected"] == 3
    assert report["sources"][0]["notes"] == []


def test_a_baseline_that_took_longer_than_the_objective_is_said(tmp_path: Path) -> None:
    made = Synthetic(tmp_path, minute(0))
    made.add_stream(IDLE, minute(0))
    made.apply(minute(0), {IDLE: "5s"}, None)
    made.commit(minute(9), {IDLE: baseline(minute(9) - SECOND, 1)})
    made.commit(minute(9) + 2 * SECOND, {}, {IDLE: minute(9) + SECOND})
    [source] = structure(made, now=minute(9) + 3 * SECOND)["sources"]
    assert source["notes"] == ["had no recovery point for the first 9 m that a policy asked for one"]


def test_a_period_without_a_moment_is_refused(journal: Synthetic) -> None:
    for changed in ({"from_at": NOW}, {"from_at": minute(10), "to_at": minute(10)}, {"from_at": NOW + 1}):
        with pytest.raises(UsageError, match="holds no moment"):
            structure(journal, **changed)


def test_unknown_reports_and_formats_are_refused(journal: Synthetic) -> None:
    with pytest.raises(NothingThere, match="no report 'audit'"):
        render("audit", journal, from_at=0, to_at=NOW, now=NOW)
    with pytest.raises(UsageError, match="'pdf' is not a format"):
        render(NAME, journal, from_at=0, to_at=NOW, now=NOW, format="pdf")


class Outline(HTMLParser):
    """The tags of a page, and what it would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            str(value) for name, value in attrs if name in ("src", "href") and not str(value).startswith("#")
        ]


def test_the_page_is_one_file_and_runs_nothing(journal: Synthetic) -> None:
    page = show(structure(journal), "html")
    outline = Outline()
    outline.feed(page)
    assert outline.loads == []
    assert "script" not in outline.tags and "&lt;script&gt;" in page
    assert "\x1b" not in page and "\\x1b[31m\\n" in page
    assert outline.tags.count("svg") == 1 + 5
    assert page.index("1 of 4 sources met") < page.index("<table>")


def test_each_strip_is_well_formed_and_says_in_words_what_it_shows(journal: Synthetic) -> None:
    page = show(structure(journal), "html")
    strips = ["<svg" + part.split("</svg>")[0] + "</svg>" for part in page.split("<svg")[2:]]
    for text in strips:
        drawn = ElementTree.fromstring(text)
        assert drawn.get("aria-label", "").startswith("The period: ")
        bands = [rect for rect in drawn.iter("rect") if rect.get("class") != "frame"]
        assert sum(float(band.get("width", "0")) for band in bands) == strip.WIDTH
        assert all(band.findtext("title") for band in bands)


def test_a_short_gap_is_still_seen_in_a_long_period() -> None:
    period = {"from": format_time(0), "to": format_time(7 * DAY)}
    cuts = [0, 3 * DAY, 3 * DAY + SECOND, 7 * DAY]
    states = ("protected", "gap", "protected")
    timeline = [
        {"from": format_time(begin), "to": format_time(end), "state": state}
        for begin, end, state in zip(cuts, cuts[1:], states, strict=False)
    ]
    assert [band.state for band in strip.bands(timeline, period)] == list(states)
    assert 2 <= len(strip.ticks(period)) <= strip.TICKS_MAX


def test_a_timeline_of_very_many_bands_is_made_coarser_and_hides_nothing_grave() -> None:
    spans = [(n * 10, n * 10 + 10, "late" if n == 77_777 else ("protected", "open")[n % 2]) for n in range(100_000)]
    found = strip.coarse(spans, 0, 1_000_000)
    assert len(found) <= strip.WIDTH and "late" in {state for _, _, state in found}
    assert (found[0][0], found[-1][1]) == (0, 1_000_000)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))


def test_names_that_are_no_utf8_are_shown_as_escapes() -> None:
    assert printable("a\udcffb\n\u202e\ud800") == "a\\xffb\\n\\u202e\\ud800"
    assert cell("a|b`<c>") == "a\\|b\\`\\<c\\>"


def test_all_formats_show_the_same_numbers(journal: Synthetic) -> None:
    report = structure(journal)
    markdown, page = show(report, "md"), show(report, "html")
    assert json.loads(show(report, "json")) == report
    for shown in ("2 m 31 s", "1 m 38 s", "346", "0011223344", "222222222222 with uncommitted changes"):
        assert shown in markdown and shown in page


def test_every_query_says_what_it_answers_and_names_its_columns() -> None:
    for report in REPORTS.values():
        for name in report.queries:
            assert purpose(name).endswith(".")
            assert "-- Columns:" in query(name)


def test_every_field_is_in_the_reference(journal: Synthetic) -> None:
    reference = (ROOT / "docs" / "reports.md").read_text("utf-8")
    missing = [name for name in fields(structure(journal)) if f"`{name}`" not in reference]
    assert missing == []


def fields(value: Any) -> set[str]:
    """The names of all fields, except those of recorded details, which are as their writers chose."""
    if isinstance(value, dict):
        inner = (fields(each) for name, each in value.items() if name not in ("details", "versions"))
        return set(value).union(*inner)
    return set().union(*map(fields, value)) if isinstance(value, list) else set()


def test_a_merged_journal_says_the_same_of_a_source_that_changes_rarely(tmp_path: Path) -> None:
    """Once without merging, once merged again and again: the same values, verdicts and bands."""
    said, rules = [], Rules(commits_min=2, age_seconds=0, segments_min=2, grace_seconds=-1e9)
    for merging in (False, True):
        journal = Synthetic(tmp_path / str(merging), minute(-1))
        journal.add_stream(IDLE, minute(-1))
        journal.apply(minute(-0.9), {IDLE: "5s"}, None)
        journal.commit(minute(0), {IDLE: baseline(minute(0) - SECOND, 2)})
        for number in range(1, 100):
            at = minute(number / 2)
            journal.commit(at, {IDLE: passed(at - SECOND)} if number % 9 == 0 else {}, {IDLE: at - 2 * SECOND})
            if merging and number % 20 == 19:
                assert merge_due(cast(Journal, journal), FrozenClock(at), rules).written
        assert len(list(journal.store.list("L0/"))) == (0 if merging else 100)
        report = structure(journal, from_at=minute(0), to_at=minute(49), now=minute(60))
        said.append(report["sources"])
    assert said[0][0]["verdict"] == "met"
    assert said[0][0]["rpo"]["worst_seconds"] == 2
    assert said[0] == said[1]
