"""What a restore is going to make, and where."""

from __future__ import annotations

import pytest

from engine.model.errors import Damaged, NothingThere
from engine.model.events import Inode
from engine.plan.restore import RestorePlan, base_of, plan_restore

TARGET = b"/back"


def inode(file_id: int, kind: str = "d", mode: int = 0o755) -> Inode:
    return Inode(file_id, 1, file_id, kind, mode, 0, 0, 0, 0)


ENTRIES = [
    (b"/", inode(0, mode=0o1777)),
    (b"/etc", inode(1)),
    (b"/etc/hosts", inode(2, "f")),
    (b"/srv", inode(3)),
    (b"/srv/data", inode(4, mode=0o700)),
    (b"/srv/data/one", inode(5, "f")),
    (b"/srv/data/two", inode(5, "f")),
]


def planned(path: bytes | None, *own: bytes) -> RestorePlan:
    base, landing = base_of(path, own, TARGET)
    return plan_restore(ENTRIES, base, landing, TARGET, own)


def directories(plan: RestorePlan) -> list[bytes]:
    return [made.target for made in plan.directories]


@pytest.mark.parametrize("path", [None, b"/", b""])
def test_the_target_does_not_get_the_attributes_of_the_hosts_root(path: bytes | None) -> None:
    plan = planned(path, b"/etc", b"/srv/data")
    assert directories(plan) == [b"/back/etc", b"/back/srv", b"/back/srv/data"]
    assert [(made.target, made.links) for made in plan.files] == [
        (b"/back/etc/hosts", ()),
        (b"/back/srv/data/one", (b"/back/srv/data/two",)),
    ]


@pytest.mark.parametrize("path", [None, b"/"])
def test_a_source_that_is_the_root_gives_the_target_its_attributes(path: bytes | None) -> None:
    plan = planned(path, b"/")
    assert (plan.directories[0].target, plan.directories[0].inode.mode) == (TARGET, 0o1777)


def test_one_path_lands_in_the_target_itself_with_its_attributes() -> None:
    plan = planned(None, b"/srv/data")
    assert [(made.target, made.inode.mode) for made in plan.directories] == [(TARGET, 0o700)]
    assert plan.names == 3


def test_a_source_that_is_a_file_lands_in_the_target_under_its_name() -> None:
    plan = planned(None, b"/etc/hosts")
    assert directories(plan) == []
    assert [made.target for made in plan.files] == [b"/back/hosts"]


def test_a_path_lands_under_its_last_name() -> None:
    plan = planned(b"/srv/data/", b"/srv")
    assert directories(plan) == [b"/back/data"]
    assert [made.target for made in planned(b"/etc/hosts", b"/etc", b"/srv").files] == [b"/back/hosts"]


def test_nothing_there_is_said() -> None:
    with pytest.raises(NothingThere, match="/none"):
        planned(b"/none", b"/srv")


@pytest.mark.parametrize("path", [b"/srv/data/../../etc/shadow", b"/srv/data/..", b"/srv/data//x", b"/srv/data/./x"])
def test_a_forged_name_leads_nowhere(path: bytes) -> None:
    with pytest.raises(Damaged):
        plan_restore([*ENTRIES, (path, inode(9, "f"))], b"/srv/data", TARGET, TARGET, (b"/srv/data",))
