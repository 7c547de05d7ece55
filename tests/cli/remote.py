"""A remote site for tests: a node process with TLS over a journal of two groups, and users who are signed in to it.

`finance` is what most users may see. Everything about the other group has a word of WORDS in its name, so that any
trace of it shows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.env.clock import SYSTEM
from engine.journal import control
from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.model.ids import Address, stream_id
from engine.model.times import format_time
from engine.node.master_key import ensure_master_key
from engine.wire.batch import NO_HASH, BatchBuilder
from tests.nodes import source
from tests.secured import SecuredNode, secured_node

from .conftest import ROOT, Ran, commit

FINANCE = "finance/sf-db1/files"
SECRET = "quokka/axolotl-host/narwhal"
COMMIT = "badc0ffee0ddf00d" * 2 + "badc0ffe"
WORDS = ("quokka", "axolotl", "narwhal", "okapi", "pangolin", COMMIT[:12], stream_id(Address(*SECRET.split("/"))))
"""Of the other group: its name, host and source, who applied it, its files; the commit; the stream."""

MINUTE = 60_000_000


@dataclass
class Remote:
    """`run` is bcsctl on a workstation: a configuration of its own, no home, no node."""

    node: SecuredNode
    folder: Path
    at: int
    tokens: dict[str, str] = field(default_factory=dict)

    def run(self, user: str, *arguments: str, stdin: str = "", **environment: str) -> Ran:
        command = [sys.executable, "-m", "bcsctl", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.variables(user, **environment), input=stdin.encode(),
            capture_output=True, timeout=120,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr.decode("utf-8", "surrogateescape"))

    def variables(self, user: str, **environment: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BCS_")}
        own = {"XDG_CONFIG_HOME": str(self.folder / user), "BCS_HOME": str(self.folder / "nothing")}
        return {**kept, **own, "TZ": "UTC", "PYTHONPATH": str(ROOT), **environment}

    def on_node(self, *arguments: str) -> Ran:
        """bcsctl on the node itself."""
        return self.run("root", *arguments, BCS_HOME=str(self.node.home))

    def sign_in(self, user: str) -> Ran:
        """Make a token for a user, and have them sign in with it."""
        file = self.folder / f"{user}.token"
        made = self.on_node("token", "create", f"{user}s", "--user", user, "--output", str(file))
        assert made.code == 0, made.err
        self.tokens[user] = file.read_text().strip()
        ca = self.folder / "ca.pem"
        ca.write_text(self.node.ca_pem)
        return self.run(user, "login", self.node.url, "--ca", str(ca), "--token-file", str(file))


USERS = {
    "vera": ("viewer", ["finance*"]),
    "olga": ("operator", ["finance*"]),
    "rudi": ("operator", ["*"]),
    "nils": ("viewer", ["nothing-like-it"]),
}


@contextmanager
def remote_site(folder: Path) -> Iterator[Remote]:
    """Vera views finance, Olga operates it, Rudi operates everything, Nils has a role on groups that aren't there."""
    home = folder / "node"
    at = journal_of_two(home)
    with secured_node(home) as node:
        remote = Remote(node, folder, at)
        act = {"who": "pangolin", "details": {"address": SECRET, "target": "/okapi", "files": 3}}
        own = {"who": "fred", "details": {"address": FINANCE, "target": "/tmp/q3", "files": 2}}
        for body in (act, own):
            assert node.admin("POST", "/v1/audit", {"what": "restore", **body}).status == 201
        for user in USERS:
            done = remote.sign_in(user)
            assert done.code == 0, done.err
        yield remote


def journal_of_two(home: Path) -> int:
    """Make the journal; when its first point was, microseconds."""
    home.mkdir()
    at = SYSTEM.now() - 60 * MINUTE
    key = bytes.fromhex(ensure_master_key(home).read_text().strip())
    with open_local(home / "journal", key, create=True) as journal:
        first = applied(at - 10 * MINUTE, {FINANCE: ["/srv/finance"]}, "fred", "1" * 40)
        control.follow(journal.store, control.POLICIES, 0, first)
        both = {FINANCE: ["/srv/finance"], SECRET: ["/srv/okapi"]}
        control.follow(journal.store, control.POLICIES, 1, applied(at - 5 * MINUTE, both, "pangolin", COMMIT))
        with Committer(journal, "n0") as committer:
            fill(committer, FINANCE, b"finance", [b"q3.ods", b"q4.ods"], at)
            fill(committer, SECRET, b"okapi", [b"narwhal.txt", b"q3-okapi.ods", b"axolotl.bin"], at)
    return at


def fill(committer: Committer, address: str, folder: bytes, names: Sequence[bytes], at: int) -> None:
    """A stream with files below /srv/FOLDER, each of which holds its own name; a point, then another."""
    stream = committer.register(Address(*address.split("/"))).id
    head = committer.open_stream(stream, "agent", None).head
    builder = BatchBuilder(stream, head.epoch, 1, NO_HASH)
    srv = builder.inode(at, None, "d", 0o755, 0, 0, 0, at * 1000)
    builder.dentry(at, 0, b"srv", srv)
    below = builder.inode(at, None, "d", 0o755, 0, 0, 0, at * 1000)
    builder.dentry(at, srv, folder, below)
    files = {}
    for name in names:
        files[name] = builder.inode(at, None, "f", 0o644, 0, 0, len(name), at * 1000)
        builder.dentry(at, below, name, files[name])
        builder.extent(at, files[name], 0, name)
    builder.mark(at, "baseline", point_class="quiet")
    digest = commit(committer, builder)
    builder = BatchBuilder(stream, head.epoch, builder.lsn_next, digest)
    later = at + MINUTE
    builder.inode(later, files[names[0]], "f", 0o600, 0, 0, len(names[0]), later * 1000)
    builder.mark(later, "gap", label=f"{folder.decode()} was away", gap_from=at + MINUTE // 2)
    builder.mark(later, "pass", point_class="quiet")
    builder.mark(later, "bookmark", label=f"before-{folder.decode()}")
    commit(committer, builder)


def applied(at: int, sources: Mapping[str, Sequence[str]], by: str, git_commit: str) -> dict[str, Any]:
    """Applied policies: a group a source, and who may what."""
    access = {
        f"AccessPolicy/{user}": {
            "kind": "AccessPolicy",
            "spec": {"subjects": [{"user": user}], "roles": [role], "groups": groups},
        }
        for user, (role, groups) in USERS.items()
    }
    groups = {f"ProtectionGroup/{address.split('/')[0]}": {"kind": "ProtectionGroup"} for address in sources}
    return {
        "applied_at": format_time(at),
        "by": by,
        "commit": git_commit,
        "dirty": False,
        "documents": {**access, **groups},
        "sources": {address: source(address, *paths) for address, paths in sources.items()},
    }


def trace(ran: Ran) -> list[str]:
    """The words of the other group that an output holds."""
    text = ran.text + ran.err
    shown = text + json.dumps(text)
    return [word for word in WORDS if word in shown]
