"""A node as a process: kills, stops, stalled clients, a second node."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.agent.ship.client import HttpNode, OutOfOrder
from engine.env import processes
from engine.env.endpoint import request_json
from engine.model.errors import BcsError, Failed, Refused
from engine.wire.batch import BatchBuilder
from engine.wire.limits import BATCH_BYTES_MAX
from tests.embedded import ROOT, Over
from tests.nodes import (
    HOST,
    STOP_SECONDS,
    ProcessNode,
    Writer,
    apply,
    file_of,
    files_in,
    journal_of,
    objects,
    process_node,
    run_serve,
    runs_of,
    source,
    wait_for,
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ProcessNode]:
    with process_node(tmp_path / "home") as node:
        yield node


@pytest.fixture
def writer(node: ProcessNode) -> Writer:
    return Writer(node, f"group/{HOST}/files").protect()


def mark(builder: BatchBuilder) -> None:
    builder.mark(1, "pass", point_class="quiet")


@contextmanager
def half_sent(node: ProcessNode, writer: Writer, *, chunked: bool = False) -> Iterator[socket.socket]:
    """A connection over which half a batch has come."""
    body = writer.batch(file_of(os.urandom(100_000)), lsn_first=writer.lsn + 1)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(120)
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
        assert node.stop(STOP_SECONDS) == 0
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
        wait_for(lambda: len(objects(node.home, "L0")) > 10, 120, "commits")
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
        assert node.stop(STOP_SECONDS) == 0
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
        desired = [future.result(120).json for future in waiting]
    assert time.monotonic() - begun < 50
    assert [[each["address"] for each in one["sources"]] for one in desired] == [["web/web1/files"], []]
    assert all(one["generation"] > generation for one in desired)
    assert node.call("GET", "/v1/agents/web1/desired?generation=1&wait=60").status == 200  # another boot's: at once
    assert time.monotonic() - begun < 50


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


@pytest.mark.parametrize("sign", ["run/node.lock", "run/node.pid", "journal/bcs.json", "journal/control/boots"])
def test_a_stop_in_the_middle_of_the_start_is_a_clean_one(tmp_path: Path, sign: str) -> None:
    """However far the start is, as its traces tell."""
    environment = {**os.environ, "BCS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "bcsctl", "serve"], env=environment, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: (tmp_path / sign).exists() or process.poll() is not None, 120, sign)
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        said = process.communicate()[1].decode()
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "node.pid").exists() and not (tmp_path / "run" / "node.sock").exists()


# Kills and restarts.


def test_what_was_acknowledged_survives_kills(node: ProcessNode, writer: Writer) -> None:
    writer.send(file_of(b"first", b"first", kind="baseline"))
    for round in range(4):
        before = len(objects(node.home, "L0"))
        with ThreadPoolExecutor(1) as pool:
            acknowledged = pool.submit(stream_until_refused, writer)
            wait_for(lambda before=before: len(objects(node.home, "L0")) > before + 10, 120, "commits")  # type: ignore[misc]
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


def test_a_second_node_refuses_and_touches_nothing(node: ProcessNode, writer: Writer) -> None:
    before = objects(node.home, "")
    second = run_serve(node.home)
    assert second.returncode == 1
    said = second.stderr.decode()
    assert f"another node, process {node.pid}, serves {node.home}" in said
    assert "bcsctl down" in said and "Traceback" not in said
    assert objects(node.home, "") == before  # not even a boot was taken
    assert processes.read_pid(node.home / "run" / "node.pid") == node.pid
    writer.send(mark)


def test_something_else_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run" / "node.sock").mkdir(parents=True)
    done = run_serve(tmp_path)
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
        wait_for(lambda: (home / "run" / "node.sock").exists() or process.poll() is not None, 120, "the socket")
        assert process.poll() is None
        assert (home / "run" / "node.sock").stat().st_mode & 0o777 == 0o600
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


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
