"""Epochs that continue an older position: what came after it stays, as a branch, and can still grow."""

from __future__ import annotations

from engine.journal import epochs
from engine.journal.commit import Committer
from engine.journal.open import Journal
from engine.model.ids import Position
from engine.model.lineage import Beside
from engine.node.forks import cause_of, recovery_at
from engine.query import points
from engine.query.branches import branches
from engine.query.content import content
from engine.query.session import Session
from engine.query.streams import info
from engine.wire.batch import BatchBuilder
from tests.unit.engine.journal.writers import Writer, file_of


def baseline(builder: BatchBuilder) -> None:
    builder.dentry(1, 0, b"one", builder.inode(1, None, "f", 0o644, 0, 0, 0, 1000))
    builder.mark(1, "baseline", point_class="quiet")


def test_history_goes_on_from_an_older_point(journal: Journal, committer: Committer, writer: Writer) -> None:
    first = writer.commit(baseline).position
    last = writer.commit(file_of(b"two", b"two", 2)).position
    epoch = committer.forks.open(writer.stream, first, "recovery x")
    assert (epoch.number, epoch.parent, epoch.writer) == (2, first, writer.name)
    assert committer.forks.open(writer.stream, first, "recovery x") == epoch, "asked again it is the same"

    late = writer.commit(file_of(b"late", b"late", 3)).position
    assert late.epoch == 1, "what was under way still goes on the old branch"

    assert writer.open((1, late.lsn, writer.prev)) == "recovery x"
    assert (writer.epoch, writer.lsn) == (2, first.lsn)
    new = writer.commit(file_of(b"three", b"three", 4)).position
    assert new.epoch == 2
    with Session(journal) as session:
        assert [point.position for point in points.points(session, writer.stream)] == [first, new]
        [branch] = branches(session, writer.stream)
        assert (branch.epoch, branch.beside) == (1, Beside(first, "recovery x"))
        assert [point.position for point in branch.points] == [last, late]
        assert last in [point.position for point in points.points(session, writer.stream, epoch=1)]
        _, told = content(session, journal, info(journal, writer.stream), last, b"/two")
        assert b"".join(told) == b"two"


def test_each_branch_names_the_recovery_that_left_it(journal: Journal, committer: Committer, writer: Writer) -> None:
    """Two recoveries to one point: the second leaves what was written after the first."""
    first = writer.commit(baseline).position
    writer.commit(file_of(b"two", b"two", 2))
    committer.forks.open(writer.stream, first, "recovery x")
    writer.open(None)
    writer.commit(file_of(b"three", b"three", 3))
    committer.forks.open(writer.stream, first, "recovery y")
    writer.open(None)
    writer.commit(file_of(b"four", b"four", 4))
    with Session(journal) as session:
        told = [(branch.epoch, branch.beside.cause) for branch in branches(session, writer.stream)]
    assert told == [(1, "recovery x"), (2, "recovery y")]


def test_history_can_go_on_from_what_was_left_beside_it(journal: Journal, committer: Committer, writer: Writer) -> None:
    """Who went back too far goes back to the branch: then what came in between lies beside."""
    first = writer.commit(baseline).position
    last = writer.commit(file_of(b"two", b"two", 2)).position
    committer.forks.open(writer.stream, first, "recovery x")
    writer.open(None)
    between = writer.commit(file_of(b"three", b"three", 3)).position
    committer.forks.open(writer.stream, last, "recovery y")
    writer.open(None)
    new = writer.commit(file_of(b"four", b"four", 4)).position
    with Session(journal) as session:
        assert [point.position for point in points.points(session, writer.stream)] == [first, last, new]
        [branch] = branches(session, writer.stream)
        assert (branch.beside, branch.last.position) == (Beside(first, "recovery y"), between)


def test_a_stream_without_branches_has_none(journal: Journal, committer: Committer, writer: Writer) -> None:
    writer.commit(file_of(b"one"))
    writer.name = "another"
    writer.open(None)
    writer.commit(file_of(b"two", b"two", 2))
    with Session(journal) as session:
        assert branches(session, writer.stream) == []


def test_a_recovery_is_told_until_something_is_written(committer: Committer, writer: Writer, journal: Journal) -> None:
    first = writer.commit(file_of(b"one")).position
    writer.commit(file_of(b"two", b"two", 2))
    committer.forks.open(writer.stream, first, cause_of("abc"))

    def told() -> str:
        return recovery_at(epochs.epochs(journal.store, writer.stream), Position(writer.epoch, writer.lsn))

    assert told() == "", "before it was opened anew"
    writer.open(None)
    assert told() == "abc"
    writer.name = "another"  # an agent that was set up anew
    writer.open(None)
    assert writer.epoch == 3 and told() == "abc"
    writer.commit(file_of(b"three", b"three", 3))
    assert told() == ""
