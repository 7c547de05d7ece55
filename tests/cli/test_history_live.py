"""Commands over a real journal: what they answer about three points of one source."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from engine.model.times import format_time

from .conftest import ADDRESS, NAME_NOT_UTF8, PlainSite, Run


def at(moment: int) -> str:
    return format_time(moment)


def test_points_show_classes_labels_and_gaps(run: Run, site: PlainSite) -> None:
    found = run("points", ADDRESS, "--json", home=site.home).json
    assert [point["class"] for point in found["points"]] == ["quiet", "fuzzy", "quiet"]
    assert [point["at"] for point in found["points"]] == [at(site.first), at(site.second), at(site.third)]
    assert found["points"][1]["label"] == "before-upgrade"
    assert found["gaps"] == [
        {"from": at(site.first + 90_000_000), "to": at(site.third), "reason": "agent was not running"}
    ]


def test_points_limit_and_range(run: Run, site: PlainSite) -> None:
    assert len(run("points", ADDRESS, "--limit", "1", "--json", home=site.home).json["points"]) == 1
    found = run("points", ADDRESS, "--from", at(site.second), "--to", at(site.second), "--json", home=site.home).json
    assert [point["at"] for point in found["points"]] == [at(site.second)]
    assert found["gaps"] == []


def test_ls_without_a_path_lists_the_content_of_the_only_one(run: Run, site: PlainSite) -> None:
    found = run("ls", ADDRESS, "--at", at(site.first), "--json", home=site.home).json
    names = [entry["path"] for entry in found["entries"]]
    assert sorted(names) == sorted(["/data/a.txt", "/data/link", "/data/sub", os.fsdecode(b"/data/" + NAME_NOT_UTF8)])
    odd = next(entry for entry in found["entries"] if "path_base64" in entry)
    assert base64.b64decode(odd["path_base64"]) == b"/data/" + NAME_NOT_UTF8
    link = next(entry for entry in found["entries"] if entry["type"] == "l")
    assert link["target"] == "sub/b.bin"
    assert found["at"] == at(site.first)


def test_ls_as_of_each_point(run: Run, site: PlainSite) -> None:
    listing = run("ls", f"{ADDRESS}:/data", "--recursive", "--json", home=site.home).json
    assert "/data/renamed.txt" in [entry["path"] for entry in listing["entries"]]
    assert "/data/sub/b.bin" not in [entry["path"] for entry in listing["entries"]]
    earlier = run("ls", f"{ADDRESS}:/data/a.txt", "--at", "mark:before-upgrade", "--json", home=site.home).json
    assert [(entry["size"], entry["mode"]) for entry in earlier["entries"]] == [(4, 0o640)]


def test_nothing_there_is_exit_5_with_the_nearest_points(run: Run, site: PlainSite) -> None:
    before = run("ls", ADDRESS, "--at", at(site.first - 1), "--json", home=site.home)
    assert before.code == 5
    assert before.json["error"]["details"]["after"]["at"] == at(site.first)
    assert run("ls", ADDRESS, "--at", "2999-01-01T00:00:00Z", home=site.home).code == 5
    assert run("ls", f"{ADDRESS}:/nowhere", home=site.home).code == 5
    unknown = run("ls", "docs/localhost/fils", home=site.home)
    assert unknown.code == 5
    assert ADDRESS in unknown.err
    inside = run("cat", f"{ADDRESS}:/data/a.txt", "--at", at(site.first + 100_000_000), home=site.home)
    assert inside.code == 5
    assert "gap" in inside.err


def test_cat_gives_the_bytes_of_then(run: Run, site: PlainSite) -> None:
    assert run("cat", f"{ADDRESS}:/data/a.txt", "--at", at(site.first), home=site.home).out == b"one"
    assert run("cat", f"{ADDRESS}:/data/a.txt", "--at", at(site.second), home=site.home).out == b"two!"
    assert run("cat", f"{ADDRESS}:/data/renamed.txt", home=site.home).out == b"two!"
    assert run("cat", f"{ADDRESS}:/data/sub/b.bin", "--at", at(site.first), home=site.home).out == site.b_bin
    assert run("cat", f"{ADDRESS}:/data/sub", home=site.home).code == 5


def test_restore_a_source_lands_in_the_directory_itself(run: Run, site: PlainSite, tmp_path: Path) -> None:
    target = tmp_path / "back"
    done = run("restore", ADDRESS, "--at", at(site.first), "--to", target, "--verify", "--json", home=site.home)
    assert done.code == 0, done.err
    assert done.json["verified"] is True
    assert done.json["read_back"] is True
    assert done.json["files"] == 3
    assert (target / "a.txt").read_bytes() == b"one"
    assert (target / "sub" / "b.bin").read_bytes() == site.b_bin
    assert (target / "link").readlink() == Path("sub/b.bin")
    assert (target / "sub").stat().st_mode & 0o7777 == 0o750
    assert os.path.exists(os.fsencode(target) + b"/" + NAME_NOT_UTF8)


def test_restore_a_path_lands_under_its_last_name(run: Run, site: PlainSite, tmp_path: Path) -> None:
    target = tmp_path / "back"
    done = run("restore", f"{ADDRESS}:/data/sub/b.bin", "--at", at(site.second), "--to", target, home=site.home)
    assert done.code == 0, done.err
    assert (target / "b.bin").read_bytes() == site.b_bin
    assert done.text.startswith("Restored 1 file, 500.0 KiB in ")
    assert done.text.rstrip().endswith("fuzzy), verified")
    assert (site.home / "audit" / "pending.jsonl").exists()


def test_restore_refuses_a_full_directory(run: Run, site: PlainSite, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("keep")
    refused = run("restore", ADDRESS, "--to", tmp_path / "full", home=site.home)
    assert refused.code == 4
    assert (tmp_path / "full" / "mine").read_text() == "keep"
    assert list((tmp_path / "full").iterdir()) == [tmp_path / "full" / "mine"]


def test_a_dry_run_writes_nothing(run: Run, site: PlainSite, tmp_path: Path) -> None:
    target = tmp_path / "back"
    done = run("restore", ADDRESS, "--at", at(site.first), "--to", target, "--dry-run", "--json", home=site.home)
    assert done.code == 0
    assert done.json["plan"]["files"] == 3
    assert done.json["plan"]["bytes"] == 3 + len(site.b_bin)
    assert not target.exists()


def test_status_without_a_node_tells_what_the_journal_knows(run: Run, site: PlainSite) -> None:
    done = run("status", "--json", home=site.home)
    assert done.code == 0
    assert done.json["node"] is None
    [group] = done.json["groups"]
    [source] = group["sources"]
    assert (source["address"], source["healthy"], source["gaps"]) == (ADDRESS, "unknown", 1)
    assert source["point"] is not None
    assert run("status", "nobody", home=site.home).code == 5
    assert "not running" in run("status", home=site.home).err


def test_history_names_commit_and_author(run: Run, site: PlainSite) -> None:
    [applied] = run("history", "--json", home=site.home).json["applied"]
    assert applied["number"] == 1
    assert applied["by"] == "tester@localhost"
    assert applied["dirty"] is True


def test_a_home_without_a_journal_is_named(run: Run, tmp_path: Path) -> None:
    for command in (["points", ADDRESS], ["ls", ADDRESS], ["status"], ["history"]):
        done = run(*command, home=tmp_path / "empty")
        assert done.code == 5
        assert str(tmp_path / "empty") in done.err
    assert not (tmp_path / "empty").exists()


def test_diff_of_two_points(run: Run, site: PlainSite) -> None:
    done = run("diff", ADDRESS, "--from", at(site.first), "--to", at(site.second), "--json", home=site.home)
    assert done.code == 0, done.err
    [change] = done.json["entries"]
    assert (change["path"], change["change"], change["content"]) == ("/data/a.txt", "changed", True)
    assert (change["from"]["size"], change["to"]["size"]) == (3, 4)
    later = run("diff", ADDRESS, "--from", "mark:before-upgrade", "--json", home=site.home).json
    assert [(one["change"], one["path"]) for one in later["entries"]] == [
        ("renamed", "/data/renamed.txt"),
        ("removed", "/data/sub/b.bin"),
    ]
    assert later["entries"][0]["old_path"] == "/data/a.txt"
    assert later["to"]["at"] == at(site.third)
    text = run("diff", ADDRESS, "--from", at(site.second), home=site.home).text
    assert text.splitlines() == ["> /data/a.txt -> /data/renamed.txt", "- /data/sub/b.bin  (500.0 KiB)"]
    same = run("diff", ADDRESS, "--from", at(site.first), "--to", at(site.first), home=site.home)
    assert (same.code, same.out) == (0, b"")
    assert run("diff", f"{ADDRESS}:/nowhere", "--from", at(site.first), home=site.home).code == 5


def test_log_of_a_path(run: Run, site: PlainSite) -> None:
    found = run("log", f"{ADDRESS}:/data/a.txt", "--json", home=site.home).json["entries"]
    assert [(one["change"], one["size"], one["at"]) for one in found] == [
        ("created", 3, at(site.first)),
        ("changed", 4, at(site.second)),
        ("renamed to", None, at(site.third)),
    ]
    assert found[-1]["other"] == "/data/renamed.txt"
    assert run("log", f"{ADDRESS}:/data/never", home=site.home).code == 5
    assert run("log", ADDRESS, home=site.home).code == 2


def test_search_finds_what_is_gone(run: Run, site: PlainSite) -> None:
    [hit] = run("search", "*.bin", "--json", home=site.home).json["entries"]
    assert (hit["address"], hit["path"], hit["gone"]) == (ADDRESS, "/data/sub/b.bin", True)
    assert (hit["first"]["at"], hit["last"]["at"]) == (at(site.first), at(site.second))
    assert run("search", "b.bin", "--smaller", "1KiB", "--json", home=site.home).json["entries"] == []
    assert run("search", "nothing-of-that-name", home=site.home).code == 0
    assert run("search", "x", "--source", "docs/localhost/fils", home=site.home).code == 5


def test_query_answers_in_rows(run: Run, site: PlainSite) -> None:
    done = run("query", "select kind, count(*) as n from events group by all order by n", "--json", home=site.home)
    assert done.code == 0, done.err
    assert done.json["columns"] == ["kind", "n"]
    assert sum(count for _, count in done.json["rows"]) == 25
    dated = run("query", "select max(at) as at, list(label) as labels from points", "--json", home=site.home)
    assert dated.json["rows"] == [[at(site.third), ["", "before-upgrade", ""]]]
    assert run("query", "drop table events", home=site.home).code == 4
    assert run("query", "selec 1", home=site.home).code == 2
    assert run("query", "select count(*) as n from events", home=site.home).text == " n\n25\n"
