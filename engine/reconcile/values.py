"""From the JSON form of valid documents to the values of `engine.model.policy`. Refuses nothing: the schema has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.model.policy.access import AccessPolicy, Notification, Subject, Target
from engine.model.policy.agents import agent_settings
from engine.model.policy.drills import read_checks
from engine.model.policy.group import (
    CRASH_POINT_DEFAULT,
    HOOK_TIMEOUT_DEFAULT,
    RPO_DEFAULT,
    Consistency,
    Hooks,
    Ignored,
    Objectives,
    RecoveryTarget,
)
from engine.model.policy.retention import EVERY_CHANGE, RetentionPolicy, Tier, Tiers
from engine.model.policy.site import (
    COMMIT_EVERY_LOCAL,
    COMMIT_EVERY_REMOTE,
    VERIFY_EVERY_DEFAULT,
    Encryption,
    ObjectLock,
    Site,
    SiteNode,
    Storage,
)
from engine.model.policy.sources import (
    SOURCE_KINDS,
    FilesSource,
    MaildirSource,
    MariadbSource,
    PostgresqlSource,
    Source,
)
from engine.model.times import parse_duration

Raw = Mapping[str, Any]
MARIADB_DATADIR = "/var/lib/mysql"


def _duration(raw: Raw, key: str, default: int) -> int:
    return parse_duration(raw[key]) if key in raw else default


def site(name: str, spec: Raw) -> Site:
    encryption = spec.get("encryption")
    return Site(
        name=name,
        nodes=tuple(SiteNode(node["host"], node["url"]) for node in spec["nodes"]),
        storage=_storage(spec["storage"]),
        inventory=spec.get("inventory", ""),
        encryption=Encryption(encryption["masterKeyFile"], encryption.get("metadata", "sealed") == "sealed")
        if encryption
        else None,
        agent=agent_settings(spec.get("agent", {})),
        verify_every=_duration(spec, "verifyEvery", VERIFY_EVERY_DEFAULT),
    )


def _storage(raw: Raw) -> Storage:
    lock = raw.get("objectLock")
    commit_every = COMMIT_EVERY_LOCAL if raw["url"].startswith("file://") else COMMIT_EVERY_REMOTE
    return Storage(
        url=raw["url"],
        commit_every=_duration(raw, "commitEvery", commit_every),
        endpoint=raw.get("endpoint", ""),
        region=raw.get("region", ""),
        credentials_from=raw.get("credentialsFrom", ""),
        object_lock=ObjectLock(lock["mode"], parse_duration(lock["for"])) if lock else None,
    )


def tiers(raw: Sequence[Raw]) -> Tiers:
    return tuple(
        Tier(
            EVERY_CHANGE if tier["keep"] == "every-change" else parse_duration(tier["keep"]),
            parse_duration(tier["for"]),
        )
        for tier in raw
    )


def retention_policy(name: str, spec: Raw) -> RetentionPolicy:
    return RetentionPolicy(name, tiers(spec["tiers"]))


def source_kind(raw: Raw) -> str:
    """Which kind an entry of `sources` is."""
    return next(kind for kind in SOURCE_KINDS if kind in raw)


def source(raw: Raw) -> Source:
    kind = source_kind(raw)
    name, body = raw.get("name", kind), raw[kind]
    if kind == "files":
        return FilesSource(name, tuple(body["paths"]), tuple(body.get("exclude", ())))
    if kind == "postgresql":
        return PostgresqlSource(name, body["cluster"])
    if kind == "mariadb":
        return MariadbSource(name, body.get("datadir", MARIADB_DATADIR))
    return MaildirSource(name, body["path"])


def ignored(raw: Sequence[Raw]) -> tuple[Ignored, ...]:
    return tuple(Ignored(entry["path"], entry["reason"]) for entry in raw)


def objectives(raw: Raw) -> Objectives:
    return Objectives(_duration(raw, "rpo", RPO_DEFAULT), parse_duration(raw["rto"]) if "rto" in raw else None)


def consistency(raw: Raw) -> Consistency:
    hooks = raw.get("hooks")
    return Consistency(
        crash_point_every=_duration(raw, "crashPointEvery", CRASH_POINT_DEFAULT),
        freeze_allowed=raw.get("freeze") == "allowed",
        hooks=Hooks(hooks.get("before", ""), hooks.get("after", ""), _duration(hooks, "timeout", HOOK_TIMEOUT_DEFAULT))
        if hooks
        else None,
    )


def recovery(raw: Raw) -> RecoveryTarget:
    return RecoveryTarget(
        raw["site"], dict(raw.get("hosts", {})), tuple(raw.get("order", ())), read_checks(raw.get("checks", ()))
    )


def access(name: str, spec: Raw) -> AccessPolicy:
    subjects = tuple(Subject(type_, who) for entry in spec["subjects"] for type_, who in entry.items())
    return AccessPolicy(name, subjects, tuple(spec["roles"]), tuple(spec["groups"]))


def notification(name: str, spec: Raw) -> Notification:
    targets = tuple(Target(type_, to) for entry in spec["to"] for type_, to in entry.items())
    return Notification(name, tuple(spec["on"]), targets)
