"""One directory by two ways: captured once, and who comes second is told whose it is."""

from __future__ import annotations

import os
from pathlib import Path

from tests.embedded import Site


def test_a_place_that_another_source_protects_is_refused(tmp_path: Path) -> None:
    base = tmp_path.resolve()
    (base / "real").mkdir()
    (base / "real" / "file").write_bytes(b"content")
    os.symlink("real", base / "link")
    with Site(base / "home").start() as site:
        site.protect("one/localhost/files", base / "real")
        site.wait_protected("one/localhost/files")
        site.protect("two/localhost/files", base / "link")
        site.wait(lambda: site.source("two/localhost/files")["state"] == "failed", 120, "the second to be refused")
        said = site.source("two/localhost/files")["message"]
        assert said.startswith(f"{base}/link leads to what one/localhost/files protects as {base}/real")
        assert site.source("one/localhost/files")["protected"] == "protected"


def test_two_paths_of_a_source_to_one_place_are_captured_once(tmp_path: Path) -> None:
    base = tmp_path.resolve()
    (base / "real").mkdir()
    (base / "real" / "file").write_bytes(b"content")
    os.symlink("real", base / "link")
    with Site(base / "home").start() as site:
        site.protect("one/localhost/files", base / "link", base / "real")
        site.wait_protected("one/localhost/files")
        found = site.json("ls", "one/localhost/files", "--recursive")["entries"]
        assert [entry["path"] for entry in found if entry["path"].endswith("file")] == [f"{base}/real/file"]
