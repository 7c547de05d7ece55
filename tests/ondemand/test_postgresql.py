"""A PostgreSQL data directory, cleanly stopped and captured as files, is started over a tree that is hardly filled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.fill.base import FUSE, PRE_ACCESS
from tests import plug
from tests.embedded import Site
from tests.mounts import mounted
from tests.ondemand.cluster import POSSIBLE, Cluster
from tests.ondemand.conftest import skip_if_impossible

ADDRESS = "demo/localhost/files"
SCALE = 4
BALANCES = "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)"
"""True after whatever transactions: pgbench writes each change to both."""


@dataclass
class Stopped:
    """A protected cluster that was stopped, and what it answered before."""

    site: Site
    disk: Path
    dump: str


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stopped]:
    if not POSSIBLE:
        pytest.skip("PostgreSQL is not installed, or this is not root")
    with mounted("ext4", 2 << 30) as disk, Site(tmp_path_factory.mktemp("site") / "home").start() as site:
        disk.parent.chmod(0o711)
        cluster = Cluster(disk / "source" / "data")
        try:
            cluster.make(SCALE)
            cluster.bench("-n", "-c", "4", "-t", "100")
            dump = cluster.dump()
            cluster.stop()
        finally:
            cluster.close()
        site.protect(ADDRESS, cluster.data)
        site.wait_protected(ADDRESS)
        site.wait(lambda: not site.source(ADDRESS).get("pending"), 120, "all of it to be captured")
        try:
            yield Stopped(site, disk, dump)
        finally:
            site.kill("agent")
            plug.take_away(site.home)


@pytest.mark.parametrize("mechanism", [PRE_ACCESS, FUSE])
def test_a_cluster_is_used_at_once(stopped: Stopped, mechanism: str) -> None:
    """It starts, takes transactions and answers while nearly all is cold; once whole, its checksums are right."""
    skip_if_impossible(mechanism, stopped.disk)
    site, target = stopped.site, stopped.disk / mechanism
    told = site.json("restore", ADDRESS, "--to", str(target), "--on-demand", "--mechanism", mechanism, "--rate", "1KiB")
    cluster = Cluster(target)
    try:
        cluster.start()
        assert cluster.ask("select count(*) from pgbench_branches") == str(SCALE)
        filled, total = progress(site, told["id"])
        assert filled < total / 3
        cluster.bench("-n", "-c", "4", "-t", "50")
        assert cluster.ask("select count(*) from pgbench_accounts") == str(SCALE * 100_000)
        assert cluster.ask("select count(*) from pgbench_history") == "600"
        fill(site, told["id"])
        cluster.bench("-n", "-c", "4", "-t", "50")
        cluster.stop()
        ended(site, told["id"])
        cluster.check()
        cluster.start()
        assert cluster.ask(BALANCES) == "t"
        assert cluster.dump().count("\n") == stopped.dump.count("\n") + 400
        cluster.stop()
    finally:
        cluster.close()


@pytest.mark.parametrize("mechanism", [PRE_ACCESS, FUSE])
def test_untouched_it_says_what_it_said(stopped: Stopped, mechanism: str) -> None:
    """Nobody but the background and pg_dump at the same time: word for word what was dumped before."""
    skip_if_impossible(mechanism, stopped.disk)
    target = stopped.disk / f"{mechanism}-again"
    told = stopped.site.json("restore", ADDRESS, "--to", str(target), "--on-demand", "--mechanism", mechanism)
    cluster = Cluster(target)
    try:
        cluster.start()
        assert cluster.dump() == stopped.dump
        fill(stopped.site, told["id"])
        cluster.stop()
        ended(stopped.site, told["id"])
        cluster.check()
    finally:
        cluster.close()


def fill(site: Site, id: str) -> None:
    """Until all is there; a mount stays for as long as the server uses it (exit 4)."""
    done = site.run("recover", "finish", id, check=False)
    assert done.returncode in (0, 4), done.stderr.decode()
    filled, total = progress(site, id)
    assert filled == total


def ended(site: Site, id: str) -> None:
    def over() -> bool:
        return not [each for each in site.json("recover", "list")["recoveries"] if each["id"] == id]

    site.wait(over, 120, "the recovery to have ended")


def progress(site: Site, id: str) -> tuple[int, int]:
    path = site.home / "recoveries" / id / "progress.json"
    site.wait(path.exists, 120, "the recovery to tell how far it is")
    found = json.loads(path.read_bytes())
    return found["bytes_filled"], found["bytes_total"]
