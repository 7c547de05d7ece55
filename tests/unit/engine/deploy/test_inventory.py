"""Host patterns by Ansible's own code, over inventories of every form."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.deploy.inventory import config_of, listed
from engine.model.errors import Failed

INI = "[db]\nsf-db[1:3]\n[sf]\nsf-db1\n"


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_patterns_mean_what_they_mean_to_ansible(tmp_path: Path) -> None:
    found = listed(write(tmp_path / "hosts.ini", INI), ["all", "db:&sf", "db:!sf", "~.*[23]", "nowhere", "~(", "db[9]"])
    assert found.hosts == {
        "all": ["sf-db1", "sf-db2", "sf-db3"],
        "db:&sf": ["sf-db1"],
        "db:!sf": ["sf-db2", "sf-db3"],
        "~.*[23]": ["sf-db2", "sf-db3"],
        "nowhere": [],
    }
    assert set(found.faults) == {"~(", "db[9]"}


def test_the_machine_that_asks_is_no_host_of_a_site(tmp_path: Path) -> None:
    assert listed(write(tmp_path / "hosts.ini", INI), ["localhost"]).hosts == {"localhost": []}
    assert listed(write(tmp_path / "own.ini", "localhost\n"), ["localhost"]).hosts == {"localhost": ["localhost"]}


def test_scripts_and_directories_are_inventories_too(tmp_path: Path) -> None:
    script = '#!/bin/sh\necho "{\\"g\\": {\\"hosts\\": [\\"$BCS_TEST_HOST\\"]}}"; echo talk >&2\n'
    write(tmp_path / "all" / "cloud.sh", script.replace("$BCS_TEST_HOST", "x"), 0o755)
    write(tmp_path / "all" / "hosts.ini", INI)
    assert listed(tmp_path / "all", ["g:db"]).hosts == {"g:db": ["x", "sf-db1", "sf-db2", "sf-db3"]}


def test_the_users_ansible_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "nothing")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "none.cfg"))
    write(tmp_path / "ansible.cfg", "[inventory]\nenable_plugins = nothing\n")
    monkeypatch.chdir(tmp_path)
    assert listed(write(tmp_path / "inventory" / "hosts.ini", INI), ["sf"]).hosts == {"sf": ["sf-db1"]}


def test_the_inventorys_own_settings_are_those_beside_it(tmp_path: Path) -> None:
    inventory = write(tmp_path / "hosts.ini", INI)
    assert config_of(inventory) is None
    beside = write(tmp_path / "ansible.cfg", "[inventory]\nenable_plugins = yaml\n")
    assert config_of(inventory) == config_of(tmp_path) == beside
    with pytest.raises(Failed, match="can't be read"):  # it is no YAML, and nothing else is enabled
        listed(inventory, ["sf"])


@pytest.mark.parametrize(
    ("name", "text", "mode", "why"),
    [
        ("hosts.yml", "all: {hosts: {a: {}\n", 0o644, "YAML parsing failed"),
        ("hosts.sh", "#!/bin/sh\nexit 3\n", 0o755, "Inventory script returned non-zero exit code 3"),
    ],
)
def test_an_inventory_that_cannot_be_read_says_why(tmp_path: Path, name: str, text: str, mode: int, why: str) -> None:
    with pytest.raises(Failed) as caught:
        listed(write(tmp_path / name, text, mode), ["all"])
    assert why in caught.value.message and name in caught.value.message
    assert "ansible inventory" in caught.value.hint


def test_a_missing_inventory_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="there is no inventory"):
        listed(tmp_path / "none", ["all"])
