"""Upkeep: what a node does by itself, and that reads do not notice."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.env.clock import SYSTEM
from engine.journal import checkpoints, merge
from engine.model.errors import Damaged
from engine.model.times import HOUR, MINUTE
from engine.node.jobs import Job, Upkeep
from engine.node.upkeep import identity_jobs, jobs_of, make_checkpoints, merge_segments
from tests.nodes import HOST, InProcessNode, Writer, file_of, files_in, objects, process_node

from .conftest import TurnedClock


def test_jobs_are_run_again_and_failures_are_told_once() -> None:
    runs: list[str] = []
    failures: list[tuple[str, str]] = []
    outcomes = [None, "a", "a", "b", None, "b"]
    enough = threading.Event()

    def job() -> None:
        runs.append("job")
        if len(runs) >= len(outcomes) + 1:
            enough.set()
            return
        if outcomes[len(runs) - 1]:
            raise ValueError(outcomes[len(runs) - 1])

    upkeep = Upkeep([Job("job", 0.0, job)], SYSTEM, lambda name, error: failures.append((name, str(error))))
    upkeep.start()
    assert enough.wait(120)
    upkeep.ask_to_stop()
    assert upkeep.join(10)
    assert failures == [("job", "a"), ("job", "b"), ("job", "b")]


def test_a_job_that_hangs_does_not_hold_up_a_stop() -> None:
    release, running = threading.Event(), threading.Event()
    upkeep = Upkeep([Job("slow", 0.0, lambda: (running.set(), release.wait(120)))], SYSTEM, lambda *_: None)
    upkeep.start()
    assert running.wait(120)
    upkeep.ask_to_stop()
    assert not upkeep.join(0.05)
    release.set()
    assert upkeep.join(10)


def test_merged_and_swept_the_files_are_the_same(node: InProcessNode, clock: TurnedClock) -> None:
    writer = Writer(node, f"g/{HOST}/files").protect()
    expected = {}
    for number in range(merge.RULES.commits_min + 5):
        name, data = b"file %d" % (number % 50), b"content %d " % number * 100
        writer.send(file_of(data, name, at=number + 1, kind="pass" if number else "baseline"))
        expected[b"/" + name] = data
    assert merge_segments(node.parts).written
    assert objects(node.home, "L1")
    assert files_in(node.home, writer) == expected
    before = len(objects(node.home, "L0"))
    clock.at += 2 * MINUTE
    assert merge_segments(node.parts).deleted
    assert len(objects(node.home, "L0")) < before
    assert files_in(node.home, writer) == expected
    assert writer.open(writer.record)["cause"] == ""
    writer.send(file_of(b"after", b"after"))
    assert files_in(node.home, writer)[b"/after"] == b"after"


def test_one_damaged_stream_holds_up_no_other(node: InProcessNode, clock: TurnedClock) -> None:
    writers = [Writer(node, f"g{number}/{HOST}/files").protect() for number in range(4)]
    for writer in writers:
        writer.send(file_of(writer.stream.encode(), kind="baseline", at=clock.at))
    before = objects(node.home, "L0")
    writers[1].send(file_of(b"second", b"second", at=clock.at))
    [victim] = objects(node.home, "L0") - before
    writers[1].send(file_of(b"third", b"third", at=clock.at))
    (node.home / "journal" / victim).unlink()
    clock.at += 2 * HOUR
    with pytest.raises(Damaged):
        make_checkpoints(node.parts)
    made = [bool(checkpoints.checkpoints(node.parts.journal, writer.stream)) for writer in writers]
    assert made == [True, False, True, True]


def test_all_jobs_have_a_name_and_a_pace(node: InProcessNode) -> None:
    jobs = [*jobs_of(node.parts), *identity_jobs(node.parts, None)]
    assert len({job.name for job in jobs}) == len(jobs) > 4
    for job in jobs:
        job.run()


def test_a_node_under_load_merges_and_reads_stay_equal(tmp_path: Path) -> None:
    with process_node(tmp_path / "home") as node:
        writer = Writer(node, f"g/{HOST}/files").protect()
        path = f"/v1/streams/{writer.stream}"
        expected = {}
        number = 0
        while not objects(node.home, "L1") or number < 100:
            name, data = b"file%d" % (number % 20), b"content %d " % number * 50
            writer.send(file_of(data, name, at=number + 1, kind="pass" if number else "baseline"))
            expected[name] = data
            number += 1
            if number % 40 == 0:
                assert node.call("GET", f"{path}/cat?path=/{name.decode()}").text == data
            assert number < 50_000
        for name, data in expected.items():
            assert node.call("GET", f"{path}/cat?path=/{name.decode()}").text == data
        assert files_in(node.home, writer) == {b"/" + name: data for name, data in expected.items()}
        assert "failed" not in node.log()
