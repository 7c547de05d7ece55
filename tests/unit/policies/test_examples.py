"""Every example is valid, every invalid file fails with what its first line says, every key is explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.model.policy.documents import KINDS
from engine.reconcile.hosts import resolver
from engine.reconcile.load import load
from engine.reconcile.resolve import examine, load_policies
from engine.reconcile.schema import FOLDER, file_of, schema

POLICIES = FOLDER.parent
EXAMPLES = sorted(path for path in (POLICIES / "examples").iterdir() if path.is_dir())
EXAMPLE_FILES = sorted(path for path in (POLICIES / "examples").rglob("*.yaml") if "inventory" not in path.parts)
INVALID = sorted((POLICIES / "invalid").glob("*.yaml"))
VARIABLES = {"BCS_HOME": "/var/lib/bcs", "HOME": "/root"}


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid(folder: Path) -> None:
    policies = load_policies([folder], variables=VARIABLES, resolve_hosts=resolver(load([folder])))
    assert policies.sources
    assert not policies.unresolved


@pytest.mark.parametrize("path", EXAMPLE_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_example_names_its_schema_for_editors(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert match, first
    assert (path.parent / match.group(1)).resolve() == (FOLDER / "policy.schema.json").resolve()


def test_examples_use_every_kind() -> None:
    used = {placed.document.kind for placed in load([POLICIES / "examples"]).documents}
    assert used == set(KINDS)


def test_quickstart_protects_the_sample_under_bcs_home() -> None:
    policies = load_policies([POLICIES / "examples" / "quickstart"], variables=VARIABLES)
    (source,) = policies.sources
    assert str(source.address) == "quickstart/localhost/files"
    assert source.paths == ("/var/lib/bcs/sample",)


def test_there_are_many_invalid_files() -> None:
    assert len(INVALID) >= 25


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid_fails_with_the_error_it_states(path: Path) -> None:
    first = path.read_bytes().split(b"\n", 1)[0].decode()
    match = re.fullmatch(r"# error: (\d+):(\d+): (.*)", first)
    assert match, first
    policies, faults = examine(load([path]), variables=VARIABLES)
    assert policies is None
    assert [(str(f.line), str(f.column), f.message) for f in faults] == [match.groups()]
    assert faults[0].file == str(path)
    assert faults[0].hint


def _keys(part: Any, way: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of every `properties` in a schema file."""
    if isinstance(part, dict):
        for name, body in part.get("properties", {}).items():
            if isinstance(body, dict) and not way.endswith("/if"):
                yield f"{way}/{name}", body
        for name, body in part.items():
            yield from _keys(body, f"{way}/{name}")
    elif isinstance(part, list):
        for at, body in enumerate(part):
            yield from _keys(body, f"{way}/{at}")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_every_key_has_a_description_and_examples_that_it_accepts(path: Path) -> None:
    body = json.loads(path.read_text())
    found = list(_keys(body))
    assert found
    shared = json.loads((FOLDER / "values.schema.json").read_text())["$defs"]
    for way, key in found:
        assert len(key.get("description", "")) > 10, way
        assert key.get("examples"), way
        local = json.loads(json.dumps({**key, "$defs": shared}).replace("values.schema.json#", "#"))
        for example in key["examples"]:
            jsonschema.Draft202012Validator(local).validate(example)


@pytest.mark.parametrize("kind", KINDS)
def test_schema_of_a_kind_is_complete_in_itself(kind: str) -> None:
    whole = schema(kind)
    jsonschema.Draft202012Validator.check_schema(whole)
    assert "values.schema.json" not in json.dumps(whole)
    assert (FOLDER / file_of(kind)).exists()


def test_dispatching_schema_agrees_with_the_kinds() -> None:
    whole = schema()
    assert whole["properties"]["kind"]["enum"] == list(KINDS)
    validator = jsonschema.Draft202012Validator(whole)
    for placed in load([POLICIES / "examples"]).documents:
        validator.validate(placed.document.raw)
    bad = {"apiVersion": "bcs/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "x"}, "spec": {"tier": []}}
    assert list(validator.iter_errors(bad))
