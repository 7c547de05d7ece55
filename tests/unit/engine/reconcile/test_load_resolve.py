"""From documents to sources: defaults, hosts, addresses, streams, paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.deploy import inventory
from engine.model.errors import Failed, PolicyInvalid, UsageError
from engine.model.ids import Address, stream_id
from engine.model.policy.documents import Fault
from engine.model.policy.resolved import PolicySet
from engine.model.policy.retention import DEFAULT_TIERS, EVERY_CHANGE, Tier
from engine.model.policy.site import Site
from engine.model.times import DAY, HOUR, MINUTE, SECOND
from engine.reconcile.hosts import inventory_of, resolver
from engine.reconcile.load import Loaded, load, with_applied
from engine.reconcile.resolve import examine, load_policies, resolve

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
    return load_policies([folder], **_options(options))


def faults(folder: Path, *texts: str, **options: Any) -> list[str]:
    return [fault.message for fault in placed_faults(folder, *texts, **options)]


def placed_faults(folder: Path, *texts: str, **options: Any) -> tuple[Fault, ...]:
    (folder / "policies.yaml").write_text("\n---".join(texts))
    return examine(load([folder]), **_options(options))[1]


def _options(options: dict[str, Any]) -> dict[str, Any]:
    """Every inventory has the node's host too."""
    resolve_hosts = options.get("resolve_hosts")
    if resolve_hosts:
        options["resolve_hosts"] = lambda site, pattern: [pattern] if pattern == "n1" else resolve_hosts(site, pattern)
    return {"variables": VARIABLES, **options}


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


def test_what_is_no_pattern_is_a_fault_at_the_pattern(folder: Path) -> None:
    def resolve_hosts(site: Site, pattern: str) -> Sequence[str]:
        raise UsageError("no pattern", hint="correct it")

    texts = (SITE, group("g", more="  site: sf\n  hosts: ~("))
    (fault,) = placed_faults(folder, *texts, resolve_hosts=resolve_hosts)
    assert (fault.path, fault.line, fault.message) == ("spec.hosts", 17, "no pattern")


def test_an_inventory_that_fails_is_one_fault_where_it_is_named(folder: Path) -> None:
    asked: list[str] = []

    def resolve_hosts(site: Site, pattern: str) -> Sequence[str]:
        asked.append(pattern)
        raise Failed("the inventory is no YAML", hint="correct it")

    texts = (SITE, group("g", more="  site: sf\n  hosts: all"), group("h", more="  site: sf\n  hosts: db"))
    (fault,) = placed_faults(folder, *texts, resolve_hosts=resolve_hosts)
    assert (fault.path, fault.line, fault.message) == ("spec.inventory", 6, "the inventory is no YAML")
    assert len(asked) == 1


AGENT = SITE.rstrip() + "\n  agent: {hosts: spare}\n"


def test_hosts_to_restore_to_get_an_agent_too(folder: Path) -> None:
    hosts = {"db": ["h2", "h1"], "spare": ["h3", "h1"], "none": []}
    texts = (AGENT, group("g", more="  site: sf\n  hosts: db"))
    found = policies(folder, *texts, resolve_hosts=lambda site, pattern: hosts[pattern])
    assert found.agents == {"sf": ("h1", "h2", "h3")}
    assert [str(source.address) for source in found.sources] == ["g/h1/files", "g/h2/files"]
    hosts["spare"] = []
    (fault,) = placed_faults(folder, *texts, resolve_hosts=lambda site, pattern: hosts[pattern])
    assert (fault.path, fault.message) == ("spec.agent.hosts", "'spare' matches no host of the site 'sf'")


def test_a_node_is_a_host_of_the_inventory(folder: Path) -> None:
    texts = (SITE.replace("host: n1", "host: n2"), group("g", more="  site: sf\n  hosts: all"))
    (fault,) = placed_faults(folder, *texts, resolve_hosts=lambda site, pattern: [] if pattern == "n2" else ["h1"])
    assert fault.path == "spec.nodes[0].host"
    assert fault.message == "the node 'n2' is no host of the inventory 'inventory/hosts.yml'"


def test_a_machine_belongs_to_one_site(folder: Path) -> None:
    other = SITE.replace("name: sf", "name: boston")
    texts = (SITE, other, group("a", more="  site: sf\n  hosts: db"), group("b", more="  site: boston\n  hosts: all"))
    hosts = {"db": ["h1"], "all": ["h1", "h2"]}
    (fault,) = placed_faults(folder, *texts, resolve_hosts=lambda site, pattern: hosts[pattern])
    assert (fault.path, fault.message) == ("spec.hosts", "the host 'h1' belongs to the site 'sf' already")
    (folder / "inventory" / "boston.yml").write_text("all: {hosts: {h1: {}}}")
    texts = (SITE, other.replace("hosts.yml", "boston.yml"), *texts[2:])
    assert not faults(folder, *texts, resolve_hosts=lambda site, pattern: hosts[pattern])


def test_sites_that_come_from_no_file_are_told_their_inventory(folder: Path) -> None:
    policies(folder, SITE, group("g", more="  site: sf\n  hosts: all"), resolve_hosts=lambda site, pattern: ["h1"])
    applied = {placed.document.key: placed.document.raw for placed in load([folder]).documents}
    found = resolve(
        with_applied(Loaded((), ()), applied),
        resolve_hosts=lambda site, pattern: [site.inventory] if pattern == "all" else [pattern],
        inventories={"sf": "elsewhere.yml"},
    )
    assert found.agents == {"sf": ("elsewhere.yml",)}
    below = folder / "groups" / "db"
    below.mkdir(parents=True)
    assert inventory_of("inventory/hosts.yml", [below]) == str(folder / "inventory/hosts.yml")
    assert inventory_of("no/hosts.yml", [below]) == "no/hosts.yml"


def test_ansible_resolves_the_patterns_once_an_inventory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "inventory" / "hosts.yml").write_text("all: {children: {db: {hosts: {n1: {}, 'h[1:3]': {}}}}}")
    asked: list[set[str]] = []
    ask = inventory.listed
    monkeypatch.setattr(inventory, "listed", lambda path, patterns: asked.append(set(patterns)) or ask(path, patterns))
    (folder / "policies.yaml").write_text(
        "\n---".join((AGENT.replace("spare", "h3"), group("g", more='  site: sf\n  hosts: "db:!h3:!n1"')))
    )
    loaded = load([folder])
    found = resolve(loaded, resolve_hosts=resolver(loaded))
    assert found.agents == {"sf": ("h1", "h2", "h3")}
    assert asked == [{"db:!h3:!n1", "h3", "n1"}]


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
