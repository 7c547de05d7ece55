"""A node as a process: kills, stops, stalled and countless clients, full and damaged disks, a second node."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from engine.agent.client import HttpNode, OutOfOrder
from engine.env import processes
from engine.env.unix_http import request_json
from engine.model.errors import BcsError, Failed, Refused
from engine.wire.batch import BatchBuilder
from engine.wire.limits import BATCH_BYTES_MAX, COLUMNS_BYTES_MAX
from tests.embedded import ROOT, Over
from tests.nodes import (
    HOST,
    ProcessNode,
    Writer,
    apply,
    file_of,
    files_in,
    held_by_stream,
    journal_of,
    objects,
    process_node,
    runs_of,
    source,
)

STOP_SECONDS = 9
"""Who stops a node kills it after this time (engine.reconcile.embedded)."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ProcessNode]:
    with process_node(tmp_path / "home") as node:
        yield node


@pytest.fixture
def writer(node: ProcessNode) -> Writer:
    return Writer(node, f"group/{HOST}/files").protect()


def mark(builder: BatchBuilder) -> None:
    builder.mark(1, "pass", point_class="quiet")


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.01)


@contextmanager
def half_sent(node: ProcessNode, writer: Writer, *, chunked: bool = False) -> Iterator[socket.socket]:
    """A connection over which half a batch has come."""
    body = writer.batch(file_of(os.urandom(100_000)), lsn_first=writer.lsn + 1)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(os.fspath(node.site.socket))
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = f"POST /v1/streams/{writer.stream}/batches?host={HOST} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n"
    half = body[: len(body) // 2]
    connection.sendall(head.encode() + (b"%x\r\n" % len(body) if chunked else b"") + half)
    try:
        yield connection
    finally:
        connection.close()


# Stops.


@pytest.mark.parametrize("chunked", [False, True])
def test_a_stalled_sender_holds_up_neither_others_nor_a_stop(node: ProcessNode, writer: Writer, chunked: bool) -> None:
    with half_sent(node, writer, chunked=chunked) as stalled:
        writer.send(file_of(b"x", kind="baseline"))
        begun = time.monotonic()
        assert node.stop(STOP_SECONDS) == 0
        assert time.monotonic() - begun < 3
        assert b" 503 " in stalled.recv(1000).split(b"\r\n")[0]
    assert files_in(node.home, writer) == {b"/file": b"x"}
    assert not (node.home / "run" / "node.sock").exists()
    assert not (node.home / "run" / "node.pid").exists()
    assert "Traceback" not in node.log()


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(node: ProcessNode, writer: Writer) -> None:
    before = objects(node.home, "packs", "L0")
    for chunked in (False, True) * 5:
        with half_sent(node, writer, chunked=chunked):
            pass
    writer.send(mark)
    assert len(objects(node.home, "packs", "L0")) == len(before) + 1
    assert "Traceback" not in node.log()


def test_a_stop_answers_those_who_wait_and_commits_what_was_taken(node: ProcessNode, writer: Writer) -> None:
    generation = node.call("GET", f"/v1/agents/{HOST}/desired").json["generation"]
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(node.call, "GET", f"/v1/agents/{HOST}/desired?generation={generation}&wait=60")
            for _ in range(3)
        ]
        acknowledged = pool.submit(stream_until_refused, writer)
        wait_for(lambda: len(objects(node.home, "L0")) > 10, 20, "commits")
        assert node.stop(STOP_SECONDS) == 0
        assert [answer.result().status for answer in waiting] == [200] * 3
    with journal_of(node.home) as journal:
        assert max(run.lsn_last for run in runs_of(journal, writer.stream)) >= acknowledged.result()
    assert "Traceback" not in node.log()


def test_connections_that_say_nothing_do_not_hold_up_a_stop(node: ProcessNode) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    try:
        for number, each in enumerate(silent):
            each.connect(os.fspath(node.site.socket))
            each.sendall(b"GET /v1/hea"[: number % 11])
        assert node.call("GET", "/v1/health").status == 200
        assert node.stop(3) == 0
    finally:
        for each in silent:
            each.close()


def stream_until_refused(writer: Writer, batches_max: int = 10_000) -> int:
    """Send one batch after the other over one connection; the last LSN acknowledged before the node went away."""
    acknowledged = 0
    connection = Over(writer.node.home / "run" / "node.sock")
    path = f"/v1/streams/{writer.stream}/batches?host={writer.host}"
    try:
        for number in range(batches_max):
            connection.request("POST", path, writer.batch(file_of(b"%d " % number * 2_000, b"%d" % number)))
            answer = connection.getresponse()
            told = json.loads(answer.read())
            if answer.status != 200:
                return acknowledged
            acknowledged = told["position"]["lsn"]
    except (OSError, ValueError):
        pass
    except Exception as error:  # what http.client makes of a connection that was cut
        assert "Remote" in type(error).__name__ or "Incomplete" in type(error).__name__, error
    finally:
        connection.close()
    return acknowledged


# Many at once.


def test_two_hundred_connections_at_once(node: ProcessNode) -> None:
    writers = [Writer(node, f"many/{HOST}/files{number}") for number in range(200)]
    apply(node, *(source(each.address) for each in writers))
    together = threading.Barrier(200)

    def work(each: Writer) -> int:
        together.wait(60)
        each.open(None)
        return int(each.send(file_of(each.address.encode(), kind="baseline"))["position"]["lsn"])

    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(work, writers)) == [4] * 200
    held = held_by_stream(node.home)
    assert all(len(held[each.stream]) == 1 for each in writers)


def test_bombs_and_large_batches_take_bounded_memory(node: ProcessNode, writer: Writer) -> None:
    from tests.contract.test_node_api import closed, opened

    writer.send(file_of(b"x" * 1_000_000, kind="baseline"))
    header, columns, frames = opened(writer.batch(file_of(b"y" * 200_000), lsn_first=writer.lsn + 1))
    bomb = zstandard.ZstdCompressor().compress(bytes(COLUMNS_BYTES_MAX))
    of_columns = closed({**header, "columns": [len(bomb), COLUMNS_BYTES_MAX]}, bomb, frames)
    packed = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    of_frames = closed({**header, "frames": [[len(packed), 1 << 30, 1]]}, columns, packed)
    before = node.memory_bytes()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(writer.post, [of_columns, of_frames] * 16))
    assert {answer.status for answer in answers} == {422}
    grown = node.memory_bytes("VmHWM") - before
    assert grown < 3 * COLUMNS_BYTES_MAX, f"grew by {grown >> 20} MiB"


def test_a_flood_of_bodies_is_held_within_limits(node: ProcessNode) -> None:
    """Twelve senders of 40 MiB each that all stall before the end: some are asked to come again, and memory stays."""
    writers = [Writer(node, f"flood/{HOST}/files{number}") for number in range(12)]
    apply(node, *(source(each.address) for each in writers))
    before = node.memory_bytes()
    block = bytes(1 << 20)
    connections = []
    try:
        for each in writers:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(10)
            connections.append(connection)
            connection.connect(os.fspath(node.site.socket))
            path = f"/v1/streams/{each.stream}/batches?host={HOST}"
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {41 << 20}\r\n\r\n".encode())
            for _ in range(40):
                connection.sendall(block)
        assert node.call("GET", "/v1/health").status == 200
        refused = [each for each in connections if readable(each)]
        assert 4 <= len(refused) <= 8
        assert all(b" 503 " in each.recv(100) for each in refused)
        assert node.memory_bytes() - before < 500 << 20
    finally:
        for connection in connections:
            connection.close()
    writers[0].open(None)
    assert writers[0].send(file_of(b"x", kind="baseline"))["position"] == {"epoch": 1, "lsn": 4}


def readable(connection: socket.socket) -> bool:
    import select

    return bool(select.select([connection], [], [], 0.5)[0])


def test_an_agent_that_waits_hears_of_an_apply_at_once(node: ProcessNode) -> None:
    generation = node.call("GET", "/v1/agents/web1/desired").json["generation"]
    begun = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(node.call, "GET", f"/v1/agents/{host}/desired?generation={generation}&wait=60")
            for host in ("web1", "web2")
        ]
        while not all(future.running() for future in waiting):
            time.sleep(0.01)
        apply(node, source("web/web1/files"))
        desired = [future.result(30).json for future in waiting]
    assert time.monotonic() - begun < 20
    assert [[each["address"] for each in one["sources"]] for one in desired] == [["web/web1/files"], []]
    assert all(one["generation"] > generation for one in desired)
    assert node.call("GET", "/v1/agents/web1/desired?generation=1&wait=60").status == 200  # another boot's: at once
    assert time.monotonic() - begun < 20


def test_generations_of_different_boots_are_never_equal(node: ProcessNode) -> None:
    seen = set()
    for _ in range(3):
        for _ in range(2):
            apply(node, source(f"g/{HOST}/files"))
            generation = node.call("GET", f"/v1/agents/{HOST}/desired").json["generation"]
            assert generation not in seen and generation < 1 << 53
            seen.add(generation)
        node.site.kill("node")
        node.site.start_node()


# Kills and restarts.


def test_what_was_acknowledged_survives_kills(node: ProcessNode, writer: Writer) -> None:
    writer.send(file_of(b"first", b"first", kind="baseline"))
    for round in range(4):
        before = len(objects(node.home, "L0"))
        with ThreadPoolExecutor(1) as pool:
            acknowledged = pool.submit(stream_until_refused, writer)
            wait_for(lambda before=before: len(objects(node.home, "L0")) > before + 10, 30, "commits")  # type: ignore[misc]
            node.site.kill("node")
        assert (node.home / "run" / "node.sock").exists()  # what a killed node leaves is no obstacle
        node.site.start_node()
        assert processes.read_pid(node.home / "run" / "node.pid") == node.pid
        sent = writer.lsn
        here = writer.open(writer.record)
        assert acknowledged.result() <= here["lsn"] <= sent, round
        assert here["cause"] in ("", "record of another epoch")
        with journal_of(node.home) as journal:
            runs = sorted(runs_of(journal, writer.stream), key=lambda run: (run.epoch, run.lsn_first))
        assert runs[0].lsn_first == 1
        assert all(right.lsn_first == left.lsn_last + 1 for left, right in itertools.pairwise(runs))
    writer.send(file_of(b"last", b"last"))
    files = files_in(node.home, writer)
    assert (files[b"/first"], files[b"/last"]) == (b"first", b"last")
    assert node.stop(STOP_SECONDS) == 0


def serve(home: Path) -> subprocess.CompletedProcess[bytes]:
    """`bcsctl serve`, which is expected to end by itself."""
    environment = {**os.environ, "BCS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bcsctl", "serve", "--role", "node"]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, timeout=60)


def test_a_second_node_refuses_and_touches_nothing(node: ProcessNode, writer: Writer) -> None:
    before = objects(node.home, "")
    second = serve(node.home)
    assert second.returncode == 1
    said = second.stderr.decode()
    assert f"another node, process {node.pid}, serves {node.home}" in said
    assert "bcsctl down" in said and "Traceback" not in said
    assert objects(node.home, "") == before  # not even a boot was taken
    assert processes.read_pid(node.home / "run" / "node.pid") == node.pid
    writer.send(mark)


def test_something_else_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run" / "node.sock").mkdir(parents=True)
    done = serve(tmp_path)
    assert done.returncode == 1
    assert "node.sock is in the way" in done.stderr.decode() and "Traceback" not in done.stderr.decode()
    assert (tmp_path / "run" / "node.sock").is_dir()
    assert not (tmp_path / "run" / "node.pid").exists()


def test_a_home_with_a_long_path_works(tmp_path: Path) -> None:
    home = tmp_path / ("long-" * 20) / ("er-" * 20)
    environment = {**os.environ, "BCS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    home.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "bcsctl", "serve"], env=environment, cwd=home, stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: (home / "run" / "node.sock").exists() or process.poll() is not None, 30, "the socket")
        assert process.poll() is None
        assert (home / "run" / "node.sock").stat().st_mode & 0o777 == 0o600
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


# Disks.


@pytest.mark.parametrize("which", ["L0", "packs", "streams", "keys", "control/policies"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_object_is_named_at_the_start(tmp_path: Path, which: str, damage: str) -> None:
    with process_node(tmp_path / "home") as node:
        writer = Writer(node, f"group/{HOST}/files").protect()
        writer.send(file_of(b"x" * 100, kind="baseline"))
        assert node.stop(STOP_SECONDS) == 0
    victim = sorted(objects(node.home, which))[0]
    path = node.home / "journal" / victim
    content = bytearray(path.read_bytes())
    content[-20 if which == "packs" else len(content) // 2] ^= 1
    path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    if which == "packs":  # not looked at before somebody reads it: then it shows
        with process_node(node.home) as again:
            assert again.call("GET", f"/v1/streams/{writer.stream}/ls").status == 200
            answer = again.call("GET", f"/v1/streams/{writer.stream}/cat?path=/file")
            assert (answer.status, answer.error["code"]) == (500, "damaged")
            assert victim in answer.error["message"] + str(answer.error["details"])
        return
    done = serve(node.home)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert victim in said and "bcsctl check" in said and "Traceback" not in said
    assert not (node.home / "run" / "node.pid").exists()


def test_a_missing_commit_is_noticed_at_the_start(tmp_path: Path) -> None:
    with process_node(tmp_path / "home") as node:
        writer = Writer(node, f"group/{HOST}/files").protect()
        for _ in range(3):
            writer.send(file_of(b"x" * 100, kind="baseline"))
        assert node.stop(STOP_SECONDS) == 0
    (node.home / "journal" / sorted(objects(node.home, "L0"))[2]).unlink()
    with process_node(node.home) as again:
        # Other streams go on; what the hole takes away is not handed out as if it were whole.
        answer = again.call("GET", f"/v1/streams/{writer.stream}/ls")
        assert (answer.status, answer.error["code"]) == (500, "damaged")
        Writer(again, f"other/{HOST}/files").protect().send(mark)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 24 MiB; skipped where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_and_got_over(small_disk: Path) -> None:
    with process_node(small_disk / "home") as node:
        writer = Writer(node, f"group/{HOST}/files").protect()
        first = os.urandom(1 << 20)
        writer.send(file_of(first, b"first", kind="baseline"))
        filler = small_disk / "filler"
        with filler.open("wb") as file:  # all but what a small object needs
            file.write(bytes(shutil.disk_usage(small_disk).free - (256 << 10)))
        refused = writer.batch(file_of(os.urandom(1 << 20), b"second"))
        for _ in range(3):
            answer = writer.post(refused)
            assert (answer.status, answer.error["code"]) == (507, "not-committed"), answer.text
            assert "No space left" in answer.error["message"]
        with filler.open("ab") as file:  # and now to the last byte
            file.write(bytes(shutil.disk_usage(small_disk).free))
        assert writer.post(refused).status == 507
        other = {"base": 1, "documents": {}, "sources": {}, "by": "me"}
        answer = node.call("POST", "/v1/policies", other)
        assert (answer.status, answer.error["code"]) == (507, "no-space")
        assert node.call("POST", "/v1/audit", {"what": "x", "who": "me"}).status == 507
        assert node.call("GET", "/v1/health").json["policies"] == 1
        assert node.call("GET", "/v1/status").status == 200
        filler.unlink()
        wait_for(lambda: writer.post(refused).status == 200, 20, "the node to go on")
        assert set(files_in(node.home, writer)) == {b"/first", b"/second"}
        assert files_in(node.home, writer)[b"/first"] == first
        assert node.call("POST", "/v1/audit", {"what": "x", "who": "me"}).status == 201
        assert "Traceback" not in node.log()
        assert node.stop(STOP_SECONDS) == 0


# Clients.


def test_who_sends_too_much_learns_why(node: ProcessNode, writer: Writer) -> None:
    """The node reads no further, so the connection breaks under the sender: the answer is there all the same."""
    agent = HttpNode(node.site.socket)
    try:
        with pytest.raises(BcsError, match="larger than"):
            agent.send(writer.stream, HOST, [bytes(1 << 20)] * ((BATCH_BYTES_MAX >> 20) + 64))
        with pytest.raises(BcsError, match="larger than"):
            request_json(node.site.socket, "POST", "/v1/policies", {"base": "x" * (200 << 20)})
        agent.send(writer.stream, HOST, [writer.batch(file_of(b"x", kind="baseline"))])
    finally:
        agent.close()


def test_agents_errors_are_what_the_node_said(node: ProcessNode, writer: Writer) -> None:
    agent = HttpNode(node.site.socket)
    try:
        head = agent.open_stream(writer.stream, HOST, writer.name, None)
        assert (head.epoch, head.lsn) == (1, 0)
        body = writer.batch(file_of(b"x", kind="baseline"))
        agent.send(writer.stream, HOST, [body])
        agent.send(writer.stream, HOST, [body])  # again, as after an answer that got lost
        with pytest.raises(OutOfOrder) as raised:
            agent.send(writer.stream, HOST, [writer.batch(mark, lsn_first=9)])
        assert (raised.value.head.lsn, raised.value.head.hash) == (writer.lsn, writer.prev)
        other = writer.batch(file_of(b"y", kind="baseline"), lsn_first=1, prev=bytes(16))
        with pytest.raises(OutOfOrder):  # a conflict: the stream is to be opened again
            agent.send(writer.stream, HOST, [other])
        with pytest.raises(Refused):
            agent.send(writer.stream, "other", [body])
        with pytest.raises(Failed, match="hash"):
            agent.send(writer.stream, HOST, [body[:-1] + bytes([body[-1] ^ 1])])
    finally:
        agent.close()
