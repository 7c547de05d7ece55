"""A site: a place with a journal and one or more nodes."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.policy.agents import USUAL, AgentSettings
from engine.model.times import DAY

EMBEDDED_SITE = "local"
"""The site that serves without a Site document: a node and an agent on this machine."""
EMBEDDED_HOST = "localhost"

COMMIT_EVERY_LOCAL = 5_000
COMMIT_EVERY_REMOTE = 1_000_000
VERIFY_EVERY_DEFAULT = 30 * DAY


@dataclass(frozen=True, slots=True)
class SiteNode:
    host: str
    url: str


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """The store itself refuses deletes for `duration` microseconds; `mode` is governance or compliance."""

    mode: str
    duration: int


@dataclass(frozen=True, slots=True)
class Storage:
    """The object store of a journal. `commit_every` in microseconds."""

    url: str
    commit_every: int
    endpoint: str = ""
    region: str = ""
    credentials_from: str = ""
    object_lock: ObjectLock | None = None

    @property
    def is_local(self) -> bool:
        return self.url.startswith("file://")


@dataclass(frozen=True, slots=True)
class Encryption:
    master_key_file: str
    metadata_sealed: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    """`inventory` is the path of an Ansible inventory; documents write it relative to themselves."""

    name: str
    nodes: tuple[SiteNode, ...]
    storage: Storage
    inventory: str = ""
    encryption: Encryption | None = None
    agent: AgentSettings = USUAL
    verify_every: int = VERIFY_EVERY_DEFAULT
