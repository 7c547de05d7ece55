"""Restores of a remote site over real TLS: to a workstation that has nothing but a token, and to a host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.journal import control
from engine.journal.open import open_local
from engine.node.master_key import ensure_master_key
from tests.nodes import acts, source
from tests.secured import SITE

from .conftest import ROOT, Ran
from .remote import FINANCE, SECRET, Remote, remote_site, trace

HOST = "spare"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    with remote_site(tmp_path_factory.mktemp("remote")) as remote:
        yield remote


@contextmanager
def agent(site: Remote, host: str) -> Iterator[subprocess.Popen[bytes]]:
    """An agent as a deployment leaves it: the site's authority, a token to enrol with, the node's URL."""
    home = site.folder / f"home-{host}"
    (home / "identity").mkdir(parents=True)
    (home / "identity" / "site-ca.pem").write_text(site.node.ca_pem)
    token = site.node.admin("POST", "/v1/enrolments", {"host": host}).json["token"]
    (home / "identity" / "enrolment").write_text(token)
    command = [sys.executable, "-m", "engine.agent", "agent", "--home", str(home), "--host", host]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BCS_HOME": str(home)}
    with (site.folder / f"{host}.log").open("ab") as log:
        process = subprocess.Popen([*command, "--node", site.node.url], env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while host not in site.node.admin("GET", "/v1/health").json["agents"]:
            assert time.monotonic() < end and process.poll() is None, (site.folder / f"{host}.log").read_text()
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(120)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


FILES = {"q3.ods": b"q3.ods", "q4.ods": b"q4.ods"}


def test_to_a_workstation(site: Remote, tmp_path: Path) -> None:
    target = tmp_path / "back"
    done = site.run("olga", "restore", FINANCE, "--to", str(target), "--verify", "--json")
    assert done.code == 0, done.err
    assert contents(target) == FILES and (target / "q3.ods").stat().st_mode & 0o777 == 0o600
    told = done.json
    assert (told["files"], told["verified"], told["read_back"], told["recorded"]) == (2, True, True, True)
    on_node = site.on_node("restore", FINANCE, "--to", str(tmp_path / "near"), "--json").json
    same = ("point", "at", "class", "files", "names", "bytes", "failures", "shortfalls")
    assert {name: told[name] for name in same} == {name: on_node[name] for name in same}
    assert set(on_node) <= set(told)
    mine = [act for act in acts(site.node.home) if act["details"].get("restore") == told["id"]]
    assert [act["what"] for act in mine] == ["restoring", "restore"]
    assert {act["who"] for act in mine} == {"olga (token olgas)"}
    assert all(act["details"]["from"].startswith("127.0.0.1:") for act in mine)
    one = site.run("olga", "restore", f"{FINANCE}:/srv/finance/q4.ods", "--to", str(tmp_path / "one"))
    assert one.code == 0 and contents(tmp_path / "one") == {"q4.ods": b"q4.ods"} and "verified" in one.text


def test_what_is_refused(site: Remote, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_bytes(b"")
    for user, address, target, code in (
        ("vera", FINANCE, tmp_path / "a", 4), ("nils", FINANCE, tmp_path / "a", 4), ("olga", SECRET, tmp_path / "a", 4),
        ("olga", FINANCE, full, 4), ("olga", f"{FINANCE}:/nothing", tmp_path / "a", 5),
    ):  # fmt: skip
        done = site.run(user, "restore", address, "--to", str(target), "--json")
        assert done.code == code, (user, address, done.text)
    assert trace(site.run("olga", "restore", f"{FINANCE}x", "--to", str(tmp_path / "a"))) == []
    assert not (tmp_path / "a").exists() and contents(full) == {"x": b""}
    opened = site.node.admin("GET", "/v1/restores").json["restores"]
    assert [each for each in opened if each["state"] == "open"] == []


@pytest.fixture
def protecting(tmp_path: Path) -> tuple[Path, Path]:
    """The home of an embedded site on the workstation, and the directory that it protects."""
    home, live = tmp_path / "embedded", tmp_path / "live"
    (live / "left-out").mkdir(parents=True)
    key = bytes.fromhex(ensure_master_key(home).read_text().strip())
    with open_local(home / "journal", key, create=True) as journal:
        own = source("docs/localhost/live", str(live), exclude=["left-out"])
        control.follow(journal.store, control.POLICIES, 0, {"number": 1, "sources": {"docs/localhost/live": own}})
    return home, live


def test_what_this_machine_protects_itself_is_refused(
    site: Remote, protecting: tuple[Path, Path], tmp_path: Path
) -> None:
    home, live = protecting

    def restore(target: Path, *more: str) -> Ran:
        words = ("restore", FINANCE, "--site", SITE, "--to", str(target), *more)
        return site.run("olga", *words, "--json", BCS_HOME=str(home))

    for target, more in ((live / "sub", ()), (live / "sub", ("--dry-run",)), (tmp_path, ("--overwrite",))):
        refused = restore(target, *more)
        assert refused.code == 4, (target, refused.text, refused.err)
        assert json.loads(refused.text)["error"]["details"]["protected_by"] == "docs/localhost/live"
    assert not (live / "sub").exists()
    assert restore(live / "left-out" / "x").code == 0, "what the source leaves out is not protected"
    done = restore(live / "sub", "--into-protected")
    assert done.code == 0 and contents(live / "sub") == FILES, done.err
    mine = [act for act in acts(site.node.home) if act["details"].get("restore") == done.json["id"]]
    assert [act["details"]["into_protected"] for act in mine] == [True, True]


def test_onto_what_stands_on_a_workstation(site: Remote, tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.mkdir()
    (target / "q3.ods").write_bytes(b"mine")
    (target / "own").write_bytes(b"own")
    for more in ((), ("--dry-run",)):
        refused = site.run("olga", "restore", FINANCE, "--to", str(target), "--json", *more)
        assert refused.code == 4 and json.loads(refused.text)["error"]["details"]["replaced"] == 1, refused.text
    looked = site.run("olga", "restore", FINANCE, "--to", str(target), "--overwrite", "--dry-run", "--json").json
    assert looked["plan"]["standing"]["names"] == [str(target / "q3.ods")]
    done = site.run("olga", "restore", FINANCE, "--to", str(target), "--overwrite", "--aside", "--verify", "--json")
    assert done.code == 0 and done.json["verified"], done.err
    [aside] = done.json["kept_aside"]
    assert Path(aside).read_bytes() == b"mine"
    assert contents(target) == {**FILES, "own": b"own", Path(aside).name: b"mine"}


def test_a_dry_run(site: Remote, tmp_path: Path) -> None:
    told = site.run("olga", "restore", FINANCE, "--to", str(tmp_path / "no"), "--dry-run", "--json").json
    assert told["plan"]["files"] == 2 and told["plan"]["target"] == str(tmp_path / "no")
    assert "would go to" in site.run("olga", "restore", FINANCE, "--to", "h:/no", "--dry-run").text
    assert not (tmp_path / "no").exists()


def test_to_a_host_over_tls(site: Remote, tmp_path: Path) -> None:
    target = tmp_path / "there"
    with agent(site, HOST) as process:
        done = site.run("olga", "restore", FINANCE, "--to", f"{HOST}:{target}", "--verify", "--json")
        assert done.code == 0 and contents(target) == FILES and done.json["read_back"], (done.text, done.err)
        again = ("restore", FINANCE, "--to", f"{HOST}:{target}", "--json")
        refused = site.run("olga", *again)
        assert refused.code == 4 and "are there already" in refused.json["error"]["message"]
        assert site.run("olga", *again, "--overwrite", "--dry-run").json["plan"]["standing"]["alike"] == 2
        refused = site.run("olga", *again, "--overwrite")
        assert refused.code == 4 and "recoverer" in refused.text, "to replace what stands on a host is no operator's"
        assert site.on_node(*again, "--overwrite").json["kept"] == 2
        assert site.run("vera", "restore", FINANCE, "--to", f"{HOST}:{tmp_path}/v").code == 4
        assert site.node.admin("POST", "/v1/certificates/revoke", {"host": HOST}).status in (200, 201)
        refused = subprocess.Popen(
            [sys.executable, "-m", "bcsctl", "restore", FINANCE, "--to", f"{HOST}:{tmp_path}/revoked", "--json"],
            cwd=site.folder, env=site.variables("olga"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        end = time.monotonic() + 120
        while (site.folder / f"home-{HOST}" / "identity" / "host.pem").exists():
            assert time.monotonic() < end, "the host was not turned away"
            time.sleep(0.05)
        assert not (tmp_path / "revoked").exists()
        if refused.poll() is None:
            refused.send_signal(signal.SIGINT)
        try:
            _, told = refused.communicate(timeout=300)
        finally:
            refused.kill()
        unbegun = refused.returncode == 1 and b"KeyboardInterrupt" in told  # Python itself had not
        assert refused.returncode in (4, 130, -signal.SIGINT) or unbegun, told
        assert process.poll() is None
    silent = site.run("olga", "restore", FINANCE, "--to", f"nobody-there:{tmp_path}/x", "--json")
    assert silent.code == 4 and "agent.hosts" in json.loads(silent.text)["error"]["hint"]
