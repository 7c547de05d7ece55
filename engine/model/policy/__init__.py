"""Policy documents as values: what must survive what. Reading and checking them is `engine.reconcile.load`'s.

Durations are microseconds and sizes bytes throughout, as in `engine.model.times`.
"""

from __future__ import annotations

from engine.model.policy.access import AccessPolicy, Notification, Subject, Target
from engine.model.policy.agents import AgentSettings, Bound
from engine.model.policy.documents import API_VERSION, KINDS, Document, Fault
from engine.model.policy.drills import Check, Drill
from engine.model.policy.group import (
    Consistency,
    Defaults,
    Hooks,
    Ignored,
    Objectives,
    ProtectionGroup,
    RecoveryTarget,
    Replication,
)
from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.policy.retention import DEFAULT_TIERS, EVERY_CHANGE, RetentionPolicy, Tier, tiers_as_json
from engine.model.policy.site import (
    EMBEDDED_HOST,
    EMBEDDED_SITE,
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

__all__ = [
    "API_VERSION",
    "AccessPolicy",
    "AgentSettings",
    "Bound",
    "Check",
    "Consistency",
    "DEFAULT_TIERS",
    "Defaults",
    "Document",
    "Drill",
    "EMBEDDED_HOST",
    "EMBEDDED_SITE",
    "EVERY_CHANGE",
    "Encryption",
    "Fault",
    "FilesSource",
    "Hooks",
    "Ignored",
    "KINDS",
    "MaildirSource",
    "MariadbSource",
    "Notification",
    "ObjectLock",
    "Objectives",
    "PolicySet",
    "PostgresqlSource",
    "ProtectionGroup",
    "RecoveryTarget",
    "Replication",
    "RetentionPolicy",
    "SOURCE_KINDS",
    "Site",
    "SiteNode",
    "Source",
    "SourceSpec",
    "Storage",
    "Subject",
    "Target",
    "Tier",
    "tiers_as_json",
]
