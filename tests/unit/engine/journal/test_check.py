"""Checking: whatever is done to any one object is named, with its kind and what it affects, and nothing else is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.env.clock import Clock
from engine.format import names
from engine.journal import check as checking
from engine.journal import control, segments
from engine.journal.check import Affected, CheckError, Report
from engine.journal.commit import Committer
from engine.journal.data import DataReader
from engine.journal.merge import Rules, merge_due
from engine.journal.open import Journal, open_journal
from engine.model.errors import BcsError
from engine.model.ids import Address
from engine.store.local import LocalStore

from .writers import MASTER_KEY, Writer

A = Address("group", "host", "a")
B = Address("group", "host", "b")
MERGE_ALL = Rules(commits_min=2, age_seconds=0.0, grace_seconds=-1.0)


def make(root: Path) -> None:
    """Two streams, two boots; /a/one is overwritten, /a/two is not; commits 1 to 6 and a last one without events."""
    store = LocalStore(root)
    with open_journal(store, MASTER_KEY, create=True) as journal:
        with Committer(journal, "node-a") as committer:
            a, b = Writer(committer, A), Writer(committer, B)
            directory = a.lsn + 1

            def first(builder: object) -> None:
                at = 1_000
                builder.inode(at, None, "d", 0o755, 0, 0, 0, 0)  # type: ignore[attr-defined]
                builder.dentry(at, 0, b"a", directory)  # type: ignore[attr-defined]
                for name in (b"one", b"two"):
                    file_id = builder.inode(at, None, "f", 0o644, 0, 0, 5000, 0)  # type: ignore[attr-defined]
                    builder.dentry(at, directory, name, file_id)  # type: ignore[attr-defined]
                    builder.extent(at, file_id, 0, name * 1000)  # type: ignore[attr-defined]
                builder.mark(at, "pass")  # type: ignore[attr-defined]

            a.commit(first)
            b.commit(lambda builder: builder.mark(1_500, "pass"))
            one = directory + 2
            a.commit(lambda builder: builder.extent(2_000, one, 0, b"1" * 5000))
            b.commit(lambda builder: builder.mark(2_500, "pass"))
            a.commit(lambda builder: builder.mark(3_000, "pass"))
            b.commit(lambda builder: builder.mark(3_500, "pass"))
        with Committer(journal, "node-a") as committer:
            a, b = Writer(committer, A, name="again"), Writer(committer, B, name="again")
            a.commit(lambda builder: builder.mark(4_000, "pass"))
            b.commit(lambda builder: builder.mark(4_500, "pass"))
        control.follow(store, "policies", 0, {"documents": []})
        control.follow(store, "policies", 1, {"documents": []})


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original") / "journal"
    make(root)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "journal"))


def look(root: Path, read_data: bool = True) -> Report:
    with open_journal(LocalStore(root), MASTER_KEY) as journal:
        return checking.check(journal, read_data)


def named(report: Report) -> list[tuple[str, str]]:
    return [(error.object, error.kind) for error in report.errors]


def objects(root: Path, prefix: str = "") -> list[str]:
    return [item.key for item in LocalStore(root).list(prefix)]


def flip(path: Path, at: int = -1, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= bit
    path.write_bytes(content)


def test_a_sound_journal_has_no_faults(root: Path) -> None:
    for read_data in (False, True):
        report = look(root, read_data)
        assert (report.errors, report.notes) == ([], [])
        assert report.objects == len(objects(root)) and report.bytes > 10_000
    with open_journal(LocalStore(root), MASTER_KEY) as journal:
        assert merge_due(journal, Clock(), MERGE_ALL).deleted
    assert look(root).errors == []


@pytest.mark.parametrize("where", [0.0, 0.3, 0.7, 1.0])
def test_a_flipped_bit_in_any_object_is_named(original: Path, tmp_path: Path, where: float) -> None:
    for number, key in enumerate(objects(original)):
        if key == names.FORMAT or key.startswith("keys/site"):
            continue  # without these a journal does not open: see below
        root = Path(shutil.copytree(original, tmp_path / f"{number}"))
        size = (root / key).stat().st_size
        flip(root / key, int((size - 1) * where), 1 << number % 8)
        assert named(look(root)) == [(key, "changed")], key
        shutil.rmtree(root)


@pytest.mark.parametrize("key", [names.FORMAT, "keys/site/1.json"])
def test_what_a_journal_can_not_be_opened_without_is_named_on_opening(root: Path, key: str) -> None:
    flip(root / key, 20)
    with pytest.raises(BcsError) as raised:
        look(root)
    assert raised.value.details["object"] == key


def test_a_truncated_object_is_named(original: Path, tmp_path: Path) -> None:
    for number, key in enumerate(objects(original)):
        if key == names.FORMAT or key.startswith("keys/site"):
            continue
        root = Path(shutil.copytree(original, tmp_path / f"{number}"))
        content = (root / key).read_bytes()
        (root / key).write_bytes(content[: len(content) * 2 // 3])
        assert named(look(root)) == [(key, "truncated")], key
        shutil.rmtree(root)


def test_a_missing_object_is_named(original: Path, tmp_path: Path) -> None:
    """All but the last of each kind, of which nothing else in the store knows."""
    last = {objects(original, prefix)[-1] for prefix in ("L0/", "control/policies/", "control/boots/")}
    for number, key in enumerate(objects(original)):
        if key in (names.FORMAT, "keys/site/1.json") or key in last:
            continue
        root = Path(shutil.copytree(original, tmp_path / f"{number}"))
        (root / key).unlink()
        found = named(look(root, read_data=False))
        boot = names.parse_segment(key)
        tail = boot is not None and boot.boot == 1 and boot.seq_first == 7
        assert found == [(key, "tail-missing" if tail else "missing")], key
        shutil.rmtree(root)


@pytest.mark.parametrize("prefix", ["L0/", "packs/", "control/policies/", "streams/"])
def test_two_objects_exchanged_are_both_named(root: Path, prefix: str) -> None:
    one, two = [key for key in objects(root, prefix) if "/epochs/" not in key][:2]
    (root / one).rename(root / "aside")
    (root / two).rename(root / one)
    (root / "aside").rename(root / two)
    assert sorted(named(look(root))) == [(one, "swapped"), (two, "swapped")]


def test_a_lost_pack_affects_the_paths_in_it_while_they_held_its_bytes(root: Path) -> None:
    pack = objects(root, "packs/")[0]
    flip(root / pack, -30)
    (error,) = look(root).errors
    assert error.affected == (
        Affected(str(A), "/a/one", 1_000, 2_000),
        Affected(str(A), "/a/two", 1_000, None),
    )
    assert look(root, read_data=False).errors == []


def test_a_lost_commit_affects_its_stream_and_no_other(root: Path) -> None:
    victim = objects(root, "L0/")[2]  # the second batch of stream a
    (root / victim).unlink()
    (error,) = look(root).errors
    assert {each.address for each in error.affected} == {str(A)}
    assert all(each.path == "" and each.to_at is not None and each.from_at < each.to_at for each in error.affected)


def test_a_lost_merged_segment_is_named_with_its_range(root: Path) -> None:
    with open_journal(LocalStore(root), MASTER_KEY) as journal:
        merge_due(journal, Clock(), Rules(commits_min=2, rows_max=12, grace_seconds=-1.0))
        victim = segments.visible(journal.store).segments[0]
    assert victim.level == 1
    (root / victim.key).unlink()
    report = look(root)
    (error,) = [each for each in report.errors if each.kind == "missing"]
    assert victim.key.startswith(error.object)


def test_a_pack_without_commit_is_a_note(root: Path) -> None:
    (root / "packs/node-a.00000001/000000000009").write_bytes(b"BCSPACK1 and so on")
    report = look(root)
    assert report.errors == []
    assert [(note.object, note.kind) for note in report.notes] == [("packs/node-a.00000001/000000000009", "orphan")]


def test_the_rest_is_still_read_and_nothing_wrong_is_handed_out(root: Path) -> None:
    packs = objects(root, "packs/")
    flip(root / packs[0], -30)
    with open_journal(LocalStore(root), MASTER_KEY) as journal:
        reads = list(read_all(journal))
    assert {pack for pack, good in reads if not good} == {packs[0]}
    assert {pack for pack, good in reads if good} == set(packs[1:])


def read_all(journal: Journal) -> Iterator[tuple[str, bool]]:
    from engine.model.events import EXTENT, DataRef

    from .writers import all_rows

    reader = DataReader(journal)
    for row in all_rows(journal).to_pylist():
        if row["kind"] == EXTENT:
            ref = DataRef(row["pack"], row["frame"], row["frame_bytes"], row["skip"])
            try:
                reader.read_extent(ref, row["length"], row["hash"], row["stream"])
                yield row["pack"], True
            except BcsError:
                yield row["pack"], False


def test_an_unreadable_object_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = objects(root, "packs/")[0]
    get: Callable[[LocalStore, str], bytes] = LocalStore.get

    def failing(self: LocalStore, key: str) -> bytes:
        if key == victim:
            raise OSError(5, "input/output error")
        return get(self, key)

    monkeypatch.setattr(LocalStore, "get", failing)
    assert named(look(root)) == [(victim, "unreadable")]


def test_a_sample_reads_a_share_of_the_packs(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    with open_journal(LocalStore(root), MASTER_KEY) as journal:
        checking.check(journal, True, 0.5, lambda done, total: seen.append((done, total)))
    assert len(seen) == 1 and seen[-1][0] == seen[-1][1] > 0


def test_errors_are_values() -> None:
    error = CheckError("key", "missing", "why")
    more = error.with_affected([Affected("g/h/s", "/p", 1, None)] * 2)
    assert error.affected == () and len(more.affected) == 1
    assert len(set(checking.KINDS)) == 9
