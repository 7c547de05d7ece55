"""From documents to sources: defaults, hosts, addresses, streams, paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import PolicyInvalid, UsageError
from engine.model.ids import Address, stream_id
from engine.model.policy import DEFAULT_TIERS, EVERY_CHANGE, PolicySet, Site, Tier
from engine.model.times import DAY, HOUR, MINUTE, SECOND
from engine.reconcile.load import load
from engine.reconcile.resolve import examine, load_policies

VARIABLES = {"BCS_HOME": "/var/lib/bcs", "HOME": "/root"}

SITE = """
apiVersion: bcs/v1alpha1
kind: Site
metadata: {name: sf}
spec:
  inventory: inventory/hosts.yml
  nodes: [{host: n1, url: "https://n1:8440"}]
  storage: {url: "file:///var/lib/bcs/journal"}
"""
DEFAULTS = """
apiVersion: bcs/v1alpha1
kind: Defaults
metadata: {name: repository}
spec:
  site: sf
  retention: gold
  objectives: {rpo: 30s, rto: 15m}
  drills: [{every: 7d}]
"""
GOLD = """
apiVersion: bcs/v1alpha1
kind: RetentionPolicy
metadata: {name: gold}
spec: {tiers: [{keep: every-change, for: 48h}, {keep: 1h, for: 30d}]}
"""


def group(name: str, sources: str = "[{files: {paths: [/srv]}}]", more: str = "", metadata: str = "") -> str:
    return f"""
apiVersion: bcs/v1alpha1
kind: ProtectionGroup
metadata: {{name: {name}{metadata}}}
spec:
  sources: {sources}
{more}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "hosts.yml").write_text("all: {hosts: {h1: {}, h2: {}}}")
    return tmp_path


def policies(folder: Path, *texts: str, **options: Any) -> PolicySet:
    (folder / "policies.yaml").write_text("\n---".join(texts))
    return load_policies([folder], **{"variables": VARIABLES, **options})


def faults(folder: Path, *texts: str, **options: Any) -> list[str]:
    (folder / "policies.yaml").write_text("\n---".join(texts))
    return [fault.message for fault in examine(load([folder]), **{"variables": VARIABLES, **options})[1]]


def test_embedded_site_needs_nothing_but_paths(folder: Path) -> None:
    (source,) = policies(folder, group("notes")).sources
    assert source.address == Address("notes", "localhost", "files")
    assert source.stream_id == stream_id(source.address)
    assert (source.site, source.kind, source.paths) == ("local", "files", ("/srv",))
    assert source.retention == DEFAULT_TIERS
    assert (source.rpo, source.rto) == (5 * SECOND, None)
    assert (Tier(EVERY_CHANGE, 7 * DAY), Tier(HOUR, 90 * DAY), Tier(DAY, 365 * DAY)) == DEFAULT_TIERS


def test_defaults_fill_what_a_group_leaves_out(folder: Path) -> None:
    hosts = {"all": ["h2", "h1"]}
    found = policies(
        folder,
        SITE,
        DEFAULTS,
        GOLD,
        group("plain", more="  hosts: all"),
        group(
            "own",
            "[{files: {paths: [/etc]}}]",
            "  hosts: all\n  objectives: {rpo: 1s}\n  retention: {tiers: [{keep: 1m, for: 1d}]}",
        ),
        resolve_hosts=lambda site, pattern: hosts[pattern],
    )
    own, plain = found.groups
    assert [str(source.address) for source in found.sources] == [
        "own/h1/files", "own/h2/files", "plain/h1/files", "plain/h2/files",
    ]  # fmt: skip
    assert plain.tiers == (Tier(EVERY_CHANGE, 2 * DAY), Tier(HOUR, 30 * DAY))
    assert (plain.objectives.rpo, plain.objectives.rto) == (30 * SECOND, 15 * MINUTE)
    assert [drill.every for drill in plain.drills] == [7 * DAY]
    assert own.tiers == (Tier(MINUTE, DAY),)
    assert (own.objectives.rpo, own.objectives.rto) == (SECOND, 15 * MINUTE)


def test_without_a_retention_a_real_site_keeps_everything(folder: Path) -> None:
    (source,) = policies(
        folder, SITE, group("g", more="  site: sf\n  hosts: all"), resolve_hosts=lambda site, pattern: ["h1"]
    ).sources
    assert source.retention == ()


def test_inventory_is_found_beside_its_document(folder: Path) -> None:
    seen: list[tuple[str, str]] = []

    def resolve_hosts(site: Site, pattern: str) -> Sequence[str]:
        seen.append((site.inventory, pattern))
        return ["h1"]

    policies(folder, SITE, group("g", more='  site: sf\n  hosts: "db:&sf"'), resolve_hosts=resolve_hosts)
    assert seen == [(str(folder / "inventory/hosts.yml"), "db:&sf")]


def test_without_a_resolver_groups_of_sites_are_unresolved(folder: Path) -> None:
    found = policies(folder, SITE, group("g", more="  site: sf\n  hosts: all"))
    assert found.unresolved == ("g",)
    assert found.sources == ()


def test_a_pattern_that_matches_nothing_is_a_fault_unless_allowed(folder: Path) -> None:
    texts = (SITE, group("g", more="  site: sf\n  hosts: nowhere"))
    assert faults(folder, *texts, resolve_hosts=lambda site, pattern: []) == [
        "'nowhere' matches no host of the site 'sf'"
    ]
    allowed = (SITE, group("g", more="  site: sf\n  hosts: nowhere\n  allowNoHosts: true"))
    assert policies(folder, *allowed, resolve_hosts=lambda site, pattern: []).sources == ()


def test_an_inventory_that_fails_is_a_fault_at_the_pattern(folder: Path) -> None:
    def resolve_hosts(site: Site, pattern: str) -> Sequence[str]:
        raise UsageError("the inventory is no YAML", hint="correct it")

    texts = (SITE, group("g", more="  site: sf\n  hosts: all"))
    assert faults(folder, *texts, resolve_hosts=resolve_hosts) == ["the inventory is no YAML"]


def test_host_names_must_fit_an_address(folder: Path) -> None:
    texts = (SITE, group("g", more="  site: sf\n  hosts: all"))
    assert faults(folder, *texts, resolve_hosts=lambda site, pattern: ["a/b"]) == [
        "the host name 'a/b' can't be part of an address"
    ]


def test_a_renamed_group_keeps_its_streams(folder: Path) -> None:
    (source,) = policies(folder, group("new", metadata=", formerly: [oldest, old]")).sources
    assert source.stream_id == stream_id(Address("oldest", "localhost", "files"))
    assert [str(address) for address in source.former_addresses] == ["oldest/localhost/files", "old/localhost/files"]


def test_variables_and_paths_are_written_out(folder: Path) -> None:
    (source,) = policies(
        folder,
        group(
            "g",
            '[{files: {paths: ["${BCS_HOME}/sample", "~/x//y/"], exclude: ["${BCS_HOME}/sample/no", "*~", "~/x"]}}]',
            '  ignore: [{path: "~/cache", reason: rebuilt}]',
        ),
    ).sources
    assert source.paths == ("/var/lib/bcs/sample", "/root/x/y")
    assert source.exclude == ("/var/lib/bcs/sample/no", "*~", "/root/x")
    assert source.ignore[0].path == "/root/cache"


def test_without_variables_paths_stay_as_written(folder: Path) -> None:
    (source,) = policies(folder, group("g", '[{files: {paths: ["${BCS_HOME}/sample"]}}]'), variables=None).sources
    assert source.paths == ("${BCS_HOME}/sample",)


def test_all_kinds_of_sources(folder: Path) -> None:
    found = policies(
        folder,
        group("g", "[{postgresql: {cluster: 15/main}}, {mariadb: {}}, {maildir: {path: /var/vmail}, name: mail}]"),
    )
    assert [(s.address.source, s.kind, s.paths, dict(s.settings)) for s in found.sources] == [
        ("mail", "maildir", ("/var/vmail",), {}),
        ("mariadb", "mariadb", ("/var/lib/mysql",), {}),
        ("postgresql", "postgresql", (), {"cluster": "15/main"}),
    ]


OVERLAPS: Mapping[str, tuple[str, str, str, bool]] = {
    # name: paths of a, paths of b, more of b's source, whether they overlap
    "equal": ("/srv", "/srv", "", True),
    "below": ("/srv", "/srv/x", "", True),
    "above": ("/srv/x", "/srv", "", True),
    "beside": ("/srv/x", "/srv/xy", "", False),
    "beside with a dash": ("/srv/x", "/srv/x-y", "", False),
    "root": ("/srv", "/", "", True),
    "excluded": ("/srv/x", "/srv", ", exclude: [/srv/x]", False),
    "excluded by a glob": ("/srv/x/data", "/srv", ', exclude: ["/srv/x*"]', False),
    "another excluded": ("/srv/x", "/srv", ", exclude: [/srv/y]", True),
    "slashes": ("/srv/x/", "//srv//x", "", True),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlaps(name: str, folder: Path) -> None:
    one, other, more, overlap = OVERLAPS[name]
    found = faults(
        folder, group("a", f"[{{files: {{paths: [{one}]}}}}]"), group("b", f"[{{files: {{paths: [{other}]{more}}}}}]")
    )
    assert bool(found) == overlap
    for message in found:
        assert "a/localhost/files" in message
        assert "b/localhost/files" in message


def test_the_same_path_on_other_hosts_is_no_overlap(folder: Path) -> None:
    texts = (SITE, group("a", more="  site: sf\n  hosts: one"), group("b", more="  site: sf\n  hosts: two"))
    assert len(policies(folder, *texts, resolve_hosts=lambda site, pattern: [pattern]).sources) == 2


def test_an_overlap_on_many_hosts_is_told_once(folder: Path) -> None:
    texts = (SITE, group("a", more="  site: sf\n  hosts: all"), group("b", more="  site: sf\n  hosts: all"))
    assert len(faults(folder, *texts, resolve_hosts=lambda site, pattern: ["h1", "h2"])) == 1


def test_the_error_carries_every_fault(folder: Path) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        policies(folder, group("a", more="  retention: gold"), group("b", "[{files: {paths: [x]}}]"))
    errors = caught.value.details["errors"]
    assert caught.value.exit_code == 3
    assert {key for error in errors for key in error} == {"file", "line", "column", "path", "message", "hint"}
    assert [error["path"] for error in errors] == ["spec.retention", "spec.sources[0].files.paths[0]"]


def test_no_documents_is_an_empty_set(folder: Path) -> None:
    assert load_policies([]) == PolicySet()
