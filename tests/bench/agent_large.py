"""One million files: the baseline, idling, a restart, and a few changes among them; a baseline whose agent is killed
half-way; restic and borg beside it.

    python -m tests.bench.agent_large [--small]

Files of about 60 bytes, 17 to a directory. The peers' first backups are made at once, both together, and not timed;
their next one is timed alone, after the same changes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.model.ids import parse_address, stream_id
from tests.bench import part
from tests.bench.figures import Figure
from tests.bench.peers import Borg, Measured, Restic, run_measured

FILES_EACH = 17
CHANGES = 100
IDLE_PERCENT, RESIDENT_MB = 1.0, 250.0
RESCAN_RATE = 70_000
CHANGES_SECONDS = 1.0


def figures(place: Path, *, small: bool = False) -> list[Figure]:
    files, idle_seconds = (1_000, 1.0) if small else (1_000_000, 30.0)
    tree = place / "tree"
    entries = make(tree, files)
    with part.Pinned(place / "home").start() as site:
        found = _baseline(site, tree, entries)
        site.wait(lambda: bool(site.source(part.ADDRESS)["bytes_sent"]), 60, "the agent to tell what it has sent")
        sent = int(site.source(part.ADDRESS)["bytes_sent"])
        found += _idle(site, idle_seconds)
        found += _restart(site, entries)
        found += _changes(site, tree, files)
    shutil.rmtree(place / "home")
    with part.Pinned(place / "home").start() as site:
        found += _resumed(site, tree, files, sent)
    shutil.rmtree(place / "home")
    return found + ([] if small else _peers(place, tree, files))


def make(tree: Path, files: int) -> int:
    """The tree, the same each time; how many entries it has."""
    made = 0
    for number in range(-(-files // FILES_EACH)):
        directory = tree / f"{number // 200:03d}" / f"{number % 200:03d}"
        directory.mkdir(parents=True)
        fd = os.open(directory, os.O_RDONLY)
        for _ in range(min(FILES_EACH, files - made)):
            file = os.open(f"file-{made:07d}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.write(file, b"%07d is one of very many small files in a large tree\n" % made)
            os.close(file)
            made += 1
        os.close(fd)
    os.sync()
    time.sleep(1)
    directories = -(-files // FILES_EACH)
    return files + directories + -(-directories // 200)


def file_at(tree: Path, number: int) -> Path:
    directory = number // FILES_EACH
    return tree / f"{directory // 200:03d}" / f"{directory % 200:03d}" / f"file-{number:07d}"


def _baseline(site: part.Pinned, tree: Path, entries: int) -> list[Figure]:
    start, cpu, node_cpu = time.perf_counter(), site.agent_cpu(), site.node_cpu()
    site.protect(part.ADDRESS, tree)
    site.wait_protected(part.ADDRESS, 400)
    took, cpu, node_cpu = time.perf_counter() - start, site.agent_cpu() - cpu, site.node_cpu() - node_cpu
    note = f"{entries} entries in {took:.0f} s; agent {cpu:.0f} CPU s, node {node_cpu:.0f}"
    record = sum(path.stat().st_size for path in (site.agent_home / "agent").rglob("record.sqlite*"))
    return [
        Figure("large", "baseline", entries / took, "entries/s", note=note),
        Figure("large", "baseline: the agent's most memory", site.agent_memory("VmHWM") / 1e6, "MB"),
        Figure("large", "the record on disk", record / 1e6, "MB"),
    ]


def _resumed(site: part.Pinned, tree: Path, files: int, sent: int) -> list[Figure]:
    """The agent is killed when it has half of the files; `sent` is what a baseline without that took of the line."""
    site.protect(part.ADDRESS, tree)
    began = time.perf_counter()
    site.wait(lambda: _captured(site) >= files // 2, 400, "half of the baseline")
    site.kill("agent")
    half, killed_at, had = time.perf_counter() - began, time.perf_counter(), _captured(site)
    site.start_agent()
    site.wait_protected(part.ADDRESS, 400)
    rest = time.perf_counter() - killed_at
    more = int(site.source(part.ADDRESS)["bytes_sent"]) / sent - 1
    note = f"killed after {half:.0f} s at {had} of {files} files"
    return [
        Figure("large", "baseline killed half-way: the rest", rest, "s", note=note),
        Figure("large", "baseline killed half-way: sent more than one that was not", more * 100, "%"),
    ]


def _captured(site: part.Pinned) -> int:
    """Files of the baseline so far, as the agent last reported."""
    return int((site.source(part.ADDRESS).get("baseline") or {}).get("files") or 0)


def _idle(site: part.Pinned, seconds: float) -> list[Figure]:
    """After all is quiet. The agent's threads all count, as does its reporting."""
    site.settled()
    time.sleep(min(2.0, seconds))
    cpu, start = site.agent_cpu(), time.perf_counter()
    time.sleep(seconds)
    share = (site.agent_cpu() - cpu) / (time.perf_counter() - start) * 100
    row = site.source(part.ADDRESS)
    note = f"{row.get('mechanism')}; which bytes changed: {row.get('ranges')}"
    resident = site.agent_memory("VmRSS") / 1e6
    return [
        Figure("large", "idle", share, "% of a core", at_most=IDLE_PERCENT, note=note),
        Figure("large", "idle: resident", resident, "MB", at_most=RESIDENT_MB),
    ]


def _restart(site: part.Pinned, entries: int) -> list[Figure]:
    """A clean stop, a start: the time from the beginning of the process until it has looked at everything."""
    assert site.agent is not None
    site.agent.send_signal(signal.SIGTERM)
    site.agent.wait(30)
    site.agent = None
    told = _times_protected(site)
    start = time.perf_counter()
    site.start_agent()
    site.wait(lambda: _times_protected(site) > told, 300, "the restarted agent to have looked")
    took, cpu = time.perf_counter() - start, site.agent_cpu()
    site.wait_protected(part.ADDRESS, 60)
    note = f"{took:.1f} s, {cpu:.1f} CPU s, start of the process and opening of the stream included"
    return [
        Figure("large", "restart: rescan", entries / took, "entries/s", at_least=RESCAN_RATE, note=note),
        Figure("large", "restart: rescan, by CPU time", entries / cpu, "entries/s"),
        Figure("large", "restart: most memory", site.agent_memory("VmHWM") / 1e6, "MB", at_most=RESIDENT_MB),
        Figure("large", "restart: resident", site.agent_memory("VmRSS") / 1e6, "MB", at_most=RESIDENT_MB),
    ]


def _times_protected(site: part.Pinned) -> int:
    """How often the agent has said in its log that the source has become protected."""
    lines = (site.home / "agent.log").read_text().splitlines()
    return sum(line.endswith(f"{part.ADDRESS}: protected") for line in lines)


def _changes(site: part.Pinned, tree: Path, files: int) -> list[Figure]:
    stream = stream_id(parse_address(part.ADDRESS))
    site.settled()
    began = time.time_ns()
    written = change(tree, files, 1)
    site.wait(lambda: written <= site.durable(stream, began).keys(), 60, "the changes to be durable")
    durable = site.durable(stream, began)
    took = (max(durable[at] for at in written) - began) / 1e9
    return [Figure("large", f"{CHANGES} files changed: all durable", took, "s", at_most=CHANGES_SECONDS)]


def change(tree: Path, files: int, turn: int) -> set[int]:
    """Write CHANGES files all over the tree anew; their mtimes."""
    source = random.Random(turn)
    written = set()
    for number in source.sample(range(files), min(CHANGES, files)):
        path = file_at(tree, number)
        path.write_bytes(b"%07d has changed in turn %d\n" % (number, turn))
        written.add(path.stat().st_mtime_ns)
    return written


def _peers(place: Path, tree: Path, files: int) -> list[Figure]:
    tools = [tool for tool in (Restic(place), Borg(place)) if shutil.which(tool.name)]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(tool.backup, tree) for tool in tools]:
            done.result()
    change(tree, files, 2)
    time.sleep(1)
    return [_next_backup(tool, tree) for tool in tools]


def _next_backup(tool: Restic | Borg, tree: Path) -> Figure:
    commands = {
        "restic": ["restic", "-q", "-r", str(tool.repository), "backup", "."],
        "borg": ["borg", "create", "-C", "zstd,1", f"{tool.repository}::b", "."],
    }
    try:
        done: Measured = run_measured(commands[tool.name], tool.environment, tree)
    except (RuntimeError, subprocess.SubprocessError) as error:
        return Figure("large", f"{tool.name}: next backup", float("nan"), "s", note=str(error)[:80])
    note = f"{done.cpu_seconds:.1f} CPU s"
    return Figure("large", f"{CHANGES} files changed: {tool.name}'s next backup", done.wall_seconds, "s", note=note)


if __name__ == "__main__":
    sys.exit(part.main("large", figures))
