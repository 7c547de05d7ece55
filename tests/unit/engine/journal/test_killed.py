"""kill -9 of a process that commits in a loop: all that it called acknowledged is there, in order, nothing is torn."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.journal import segments
from engine.journal.commit import Committer
from engine.journal.open import open_journal
from engine.model.ids import Address
from engine.store.local import LocalStore

from .writers import MASTER_KEY, all_rows

ROUNDS = 6
_CHILD = """
import sys
from engine.journal.commit import Committer
from engine.journal.open import open_journal
from engine.model.ids import Address
from engine.store.local import LocalStore
from engine.wire.batch import BatchBuilder, decode

journal = open_journal(LocalStore(sys.argv[1]), bytes(range(32)), create=True)
committer = Committer(journal, "node-a")
stream = committer.register(Address("group", "host", "files")).id
head = committer.heads().get(stream)
opened = committer.open_stream(stream, "child", (head.epoch, head.lsn, head.hash) if head else None)
epoch, lsn, prev = opened.head.epoch, opened.head.lsn, opened.head.hash
futures = []
for number in range(1_000_000):
    builder = BatchBuilder(stream, epoch, lsn + 1, prev)
    builder.extent(number, 1, 0, (b"%d " % number) * (1 + number * 37 % 20_000))
    builder.mark(number, "pass")
    parts, prev = builder.encode()
    lsn = builder.lsn_next - 1
    futures.append(committer.submit(decode(b"".join(parts))))
    while len(futures) > number % 4:
        print(futures.pop(0).result().position.lsn, flush=True)
"""


def run_until_killed(root: Path, after_lines: int) -> int:
    """Kill a child once it has acknowledged so many batches; the last LSN that it acknowledged."""
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(root)], stdout=subprocess.PIPE, bufsize=0)
    assert child.stdout is not None
    seen = b""
    try:
        while seen.count(b"\n") < after_lines:
            ready, _, _ = select.select([child.stdout], [], [], 60)
            part = os.read(child.stdout.fileno(), 65536) if ready else b""
            assert part, "the child gave nothing more"
            seen += part
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    seen += child.stdout.read()
    child.stdout.close()
    return int(seen[: seen.rfind(b"\n")].splitlines()[-1])


@pytest.mark.parametrize("seed", [1])
def test_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = LocalStore(tmp_path / "journal")
    for _ in range(ROUNDS):
        acknowledged = run_until_killed(tmp_path / "journal", chance.randint(1, 60))
        with open_journal(store, MASTER_KEY) as journal:
            assert not segments.visible(store).holes
            lsns = all_rows(journal).column("lsn").to_pylist()
            assert sorted(lsns) == list(range(1, len(lsns) + 1))
            assert len(lsns) >= acknowledged
            with Committer(journal, "node-a") as committer:
                stream = committer.register(Address("group", "host", "files")).id
                assert committer.heads()[stream].lsn == len(lsns)
