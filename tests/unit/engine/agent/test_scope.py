"""Which paths belong to a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.drivers.files import Scope
from engine.model.errors import UsageError


def test_what_lies_below_another_path_is_one() -> None:
    scope = Scope(["/srv/b/c", "/srv/b", "/srv/bc/"])
    assert scope.roots == (b"/srv/b", b"/srv/bc")
    assert scope.stems == {b"/": {b"srv"}, b"/srv": {b"b", b"bc"}}


def test_excludes_and_the_agents_own_files() -> None:
    scope = Scope(["/srv"], ["*.tmp", "/srv/cache"], own=["/srv/bcs/journal"])
    assert scope.excluded(b"/srv/x/a.tmp", False)
    assert scope.excluded(b"/srv/cache/x", False)
    assert scope.excluded(b"/srv/bcs/journal", True)
    assert scope.excluded(b"/srv/bcs/journal/L0", True)
    assert not scope.excluded(b"/srv/bcs/sample", True)
    assert not scope.excluded(b"/srv", True)


def test_a_protected_directory_below_the_agents_home() -> None:
    scope = Scope(["/home/bcs/sample"], own=["/home/bcs/journal"])
    assert scope.excludes_nothing


def test_nonsense_is_refused() -> None:
    for paths in ([], ["relative"]):
        with pytest.raises(UsageError):
            Scope(paths)


def test_links_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    scope = Scope([str(tmp_path / "link" / "x")])
    base = str(tmp_path.resolve()).encode()
    assert scope.real(base + b"/link/x/y") == base + b"/real/x/y"
    assert scope.real(base + b"/other") == base + b"/other"
    (tmp_path / "link").unlink()
    (tmp_path / "link").mkdir()
    assert scope.follow()
    assert scope.real(base + b"/link/x/y") == base + b"/link/x/y"


def test_paths_that_lead_to_one_place_are_one(tmp_path: Path) -> None:
    base = str(tmp_path.resolve())
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "inner").symlink_to("real/below")
    scope = Scope([f"{base}/link", f"{base}/inner", f"{base}/real", f"{base}/link/below"])
    assert scope.roots == (f"{base}/real".encode(),)
    assert Scope([f"{base}/inner", f"{base}/link"]).roots == (f"{base}/link".encode(),)
    (tmp_path / "link").unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    assert scope.follow()
    assert scope.roots == (f"{base}/link".encode(), f"{base}/real".encode())
    assert not scope.excluded(f"{base}/link/x".encode(), False)


def test_scopes_that_share_a_place(tmp_path: Path) -> None:
    base = str(tmp_path.resolve())
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/below")
    inner, outer = Scope([f"{base}/link"]), Scope([f"{base}/real"])
    paths = f"{base}/link".encode(), f"{base}/real".encode()
    assert inner.shared_with(outer) == paths
    assert outer.shared_with(inner) == paths[::-1]
    assert inner.shared_with(Scope([f"{base}/real"], ["below"])) is None
    assert outer.shared_with(Scope([f"{base}/realm"])) is None
