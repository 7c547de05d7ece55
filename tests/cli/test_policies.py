"""init, validate, schema and plan: what can be done before anything runs."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import jsonschema
import pytest

from .conftest import ROOT, Run

GOOD = """\
apiVersion: bcs/v1alpha1
kind: ProtectionGroup
metadata: {name: mine}
spec:
  sources: [{files: {paths: [/srv/mine]}}]
  objectives: {rpo: 5s}
"""


def test_init_makes_a_repository_that_is_valid_at_once(run: Run, tmp_path: Path) -> None:
    made = run("init", tmp_path / "repo", "--json")
    assert made.code == 0, made.err
    assert all(Path(file).is_file() for file in made.json["files"])
    checked = run("validate", tmp_path / "repo", "--json")
    assert checked.json["valid"] is True
    assert checked.json["sources"] == ["my-files/localhost/files"]
    inside = run("validate", "--json", cwd=tmp_path / "repo")
    assert inside.json == checked.json


def test_init_protects_what_is_named(run: Run, tmp_path: Path) -> None:
    odd = tmp_path / 'with "quotes" and ünïcode'
    odd.mkdir()
    assert run("init", tmp_path / "repo", "--protect", odd).code == 0
    plan = run("plan", "--json", cwd=tmp_path / "repo")
    assert plan.code == 0, plan.err
    assert any(str(odd) in change["reason"] for change in plan.json["changes"])
    assert run("init", tmp_path / "other", "--protect", tmp_path / "nowhere").code == 2


def test_init_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "README.md").write_text("mine")
    refused = run("init", tmp_path / "repo")
    assert refused.code == 4
    assert [file.name for file in (tmp_path / "repo").iterdir()] == ["README.md"]
    assert (tmp_path / "repo" / "README.md").read_text() == "mine"


def test_validate_lists_every_error_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(GOOD.replace("rpo: 5s", "rpo: fast").replace("sources:", "sauces:"))
    done = run("validate", tmp_path / "bad.yaml", "--json")
    assert done.code == 3
    assert done.json["valid"] is False
    assert len(done.json["errors"]) >= 2
    first = done.json["errors"][0]
    assert set(first) >= {"file", "line", "column", "path", "message", "hint"}
    assert done.json["error"]["code"] == "policy-invalid"
    human = run("validate", tmp_path / "bad.yaml")
    assert human.code == 3
    assert f"bad.yaml:{first['line']}:{first['column']}: " in human.err


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_invalid_policies_carry_errors_in_every_command(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "bad.yaml").write_text("kind: ProtectionGroup\n")
    done = run(command, tmp_path / "bad.yaml", "--json")
    assert done.code == 3
    assert done.json["errors"]
    assert not (tmp_path / "home").exists()


def test_a_path_that_is_not_there_is_told_once(run: Run, tmp_path: Path) -> None:
    told = run("validate", tmp_path / "nowhere")
    assert told.code == 3 and told.err.count("cannot be read") == 1


def test_many_faults_are_all_listed_only_by_validate(run: Run, tmp_path: Path) -> None:
    for number in range(13):
        (tmp_path / f"bad{number:02}.yaml").write_text("kind: ProtectionGroup\n")
    asked, applied = run("validate", tmp_path), run("apply", tmp_path, "--yes")
    assert "bad12.yaml" in asked.err
    assert "bad12.yaml" not in applied.err
    assert " more\n" in applied.err


def test_schema_is_a_schema(run: Run) -> None:
    whole = run("schema").json
    jsonschema.Draft202012Validator.check_schema(whole)
    assert run("schema", "ProtectionGroup").json["$schema"] == whole["$schema"]
    unknown = run("schema", "ProtectionGrup")
    assert unknown.code == 5
    assert "ProtectionGroup" in unknown.err


def test_plan_of_a_new_site(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    done = run("plan", tmp_path / "mine.yaml", "--json")
    assert done.code == 0, done.err
    assert done.json["noop"] is False
    assert {(change["action"], change["kind"]) for change in done.json["changes"]} == {
        ("create", "Node"),
        ("create", "Agent"),
        ("create", "ProtectionGroup"),
        ("create", "Source"),
    }
    assert done.json["summary"]["create"] == 4
    assert run("plan", tmp_path / "mine.yaml", "--detailed-exitcode").code == 10
    assert not (tmp_path / "home" / "journal").exists()


def test_a_plan_is_saved_and_a_stale_or_foreign_one_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    saved = tmp_path / "tonight.plan"
    assert run("plan", tmp_path / "mine.yaml", "--out", saved).code == 0
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert json.loads(saved.read_text())["noop"] is False
    assert run("apply", "--plan", saved, home=tmp_path / "another").code == 4
    saved.write_text("{}")
    assert run("apply", "--plan", saved).code == 2


def test_an_empty_set_and_a_silent_apply_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "none").mkdir()
    for empty in (run("apply", "--yes", cwd=tmp_path), run("apply", "--yes", tmp_path / "none")):
        assert empty.code == 4
        assert "--allow-empty" in empty.err
    (tmp_path / "policies" / "mine.yaml").write_text(GOOD)
    unasked = run("apply", cwd=tmp_path)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert not (tmp_path / "home" / "journal").exists()


def test_settings_rise_from_file_to_environment_to_flag(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    (tmp_path / "bcs.toml").write_text('home = "from-file"\npolicies = "mine.yaml"\n')

    def home(*flags: str, **environment: str) -> str:
        out = tmp_path / "saved"
        done = run("plan", "--out", out, *flags, cwd=tmp_path, **environment)
        assert done.code == 0, done.err
        return str(json.loads(out.read_text())["home"])

    assert home(BCS_HOME="") == str(tmp_path / "from-file")
    assert home(BCS_HOME=str(tmp_path / "from-environment")) == str(tmp_path / "from-environment")
    assert home("--home", "/from/flag", BCS_HOME="/from/environment") == "/from/flag"
    (tmp_path / "link").symlink_to(tmp_path / "from-file")
    assert home(BCS_HOME=str(tmp_path / "link")) == str(tmp_path / "from-file")  # one home, one name


def test_a_wrong_bcs_toml_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    for text in ("home = 5", "hoem = '/x'", "home = "):
        (tmp_path / "bcs.toml").write_text(text)
        done = run("status", cwd=tmp_path)
        assert done.code == 2
        assert "bcs.toml" in done.err


def test_examples_are_valid(run: Run) -> None:
    for folder in sorted((ROOT / "policies" / "examples").iterdir()):
        assert run("validate", folder).code == 0, folder
