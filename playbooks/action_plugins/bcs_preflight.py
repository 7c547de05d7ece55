"""Ansible action: one look at a host, before anything is done to it, and a plain refusal where it can't be served.

The look is one POSIX shell script, so that a host without any Python gives a clear answer too. From what it finds the
controller chooses a Python, becomes root where it has to, makes or finds the bundle that fits, and compares its size
with the space that is free. Nothing is changed, in check mode or out of it.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleAuthenticationFailure
from ansible.plugins.action import ActionBase

from engine.deploy import bundle
from engine.deploy.platforms import MACHINES, PYTHONS, Platform, this_platform
from engine.env.clock import SYSTEM
from engine.model.errors import BcsError, Failed

CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3")
MODULES = "ssl, sqlite3, ctypes, zlib, json"  # Debian's python3-minimal, for one, lacks some
SPARE_BYTES = 16 << 20  # beside the bundle: settings, a first record, logs

# Words of the command line: the directory of versions, an account, the home, the unit, Pythons to try.
SCRIPT = r"""
say() { printf '%s=%s\n' "$1" "$2"; }
free() {
    at=$2
    while [ ! -e "$at" ]; do at=$(dirname "$at"); done
    say "$1" "$(df -Pk "$at" | tail -n 1 | awk '{print $4 * 1024, $1}')"
}
root=$1 account=$2 home=$3 unit=$4; shift 4
say uid "$(id -u)"; say user "$(id -un)"; say machine "$(uname -m)"
[ -d /run/systemd/system ] && say systemd 1
for python in "$@"; do
    path=$(command -v "$python") || continue
    release=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    "$path" -c 'import MODULES' 2>/dev/null && say python "$release $path" || say lacking "$release $path"
done
free root_free "$root"; free home_free "$home"
[ -L "$root/current" ] && say current "$(readlink "$root/current")"
for path in "$root"/*; do
    [ -L "$path" ] || [ ! -d "$path" ] || say version "${path##*/} $(cat "$path/python" 2>/dev/null)"
done
[ -e /etc/systemd/system/"$unit".service ] && say unit 1
id "$account" >/dev/null 2>&1 && say account 1
[ -r "$home/identity/host.pem" ] && say certificate "$(base64 < "$home/identity/host.pem" | tr -d '\n')"
:
""".replace("MODULES", MODULES)

NO_ROOT = "let that user become root by sudo without a password, or give the inventory ansible_become_password"


class ActionModule(ActionBase):
    """See `playbooks/roles/*/tasks/preflight.yml` for its arguments."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        host = str((task_vars or {}).get("inventory_hostname", "the host"))
        try:
            return {"changed": False, **self._look(host, self._task.args)}
        except BcsError as error:
            return {"failed": True, "msg": error.message, "hint": error.hint}

    def _look(self, host: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        kind, removing = wanted["kind"], bool(wanted.get("removing"))
        version = wanted.get("version") or bundle.version(kind)
        found = self._probe(host, wanted)
        require_rights(host, found, wanted)
        python, path = choose_python(host, found, wanted.get("python") or "")
        platform = Platform(python, found["machine"])
        unpacked = found["versions"].get(version) == f"{python} {path}"
        archive = Path(wanted["bundle"]) if wanted.get("bundle") else None
        if not unpacked and not removing:
            if archive is not None and not archive.is_file():
                raise Failed(f"there is no bundle {archive}", hint="leave agent_bundle away to have it made")
            archive = archive or made(host, kind, version, platform, Path(wanted["cache"]), found)
            require_space(host, found, bundle.bytes_on_disk(archive), wanted)
        enrolled = holds(found.get("certificate", ""), wanted.get("ca") or "")
        return {
            "version": version,
            "python": path,
            "become": bool(found.get("become") or self._connection.become),
            "systemd": bool(found.get("systemd")) and found["uid"] == "0",
            "bundle": str(archive or ""),
            "unpacked": unpacked,
            "current": found.get("current", ""),
            "unit": bool(found.get("unit")),
            "account": bool(found.get("account")),
            "enrolled": enrolled,
            "bcs": {"python": python, "machine": found["machine"], "enrolled": enrolled, "version": version},
        }

    def _probe(self, host: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """What the script says; as root, where that is needed and can be had. The inventory may know how to become
        root; where it says nothing, sudo without a password is tried."""
        words = [wanted["root"], wanted.get("account") or "root", wanted["home"], wanted["unit"]]
        words += [wanted["python"]] if wanted.get("python") else CANDIDATES
        command = shlex.join(["sh", "-s", "--", *words])
        found = parsed(self._said(host, command))
        if wanted.get("privileged") and found["uid"] != "0":
            answer = self._low_level_execute_command(f"sudo -n {command}", in_data=SCRIPT.encode())
            if answer["rc"] == 0:
                return {**parsed(answer["stdout"]), "become": "1"}
        return found

    def _said(self, host: str, command: str) -> str:
        try:
            answer = self._low_level_execute_command(command, in_data=SCRIPT.encode())
        except AnsibleAuthenticationFailure as error:
            if "sudo" not in str(error) and "become" not in str(error):
                raise
            raise Failed(f"{host} does not let us become root: {error}", hint=NO_ROOT) from None
        if answer["rc"] == 0 and "uid=" in answer["stdout"]:
            return str(answer["stdout"])
        said = (answer["stderr"] or answer["stdout"]).strip().splitlines() or ["it said nothing"]
        hint = NO_ROOT if "sudo" in said[-1] else "log in there by hand and look what its shell says"
        raise Failed(f"{host} did not let us look: {said[-1]}", hint=hint)


def parsed(said: str) -> dict[str, Any]:
    """The script's lines, name by name; `pythons`, `lacking` and `versions` collected."""
    found: dict[str, Any] = {"pythons": [], "lacking": [], "versions": {}}
    for line in said.splitlines():
        name, _, value = line.strip().partition("=")
        if name == "python":
            found["pythons"].append(tuple(value.split(" ", 1)))
        elif name == "lacking":
            found["lacking"].append(value)
        elif name == "version":
            release, _, python = value.partition(" ")
            found["versions"][release] = python
        else:
            found[name] = value
    return found


def require_rights(host: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if wanted.get("privileged") and found["uid"] != "0":
        raise Failed(f"{found['user']} is not root on {host} and can't become root there", hint=NO_ROOT)
    if wanted.get("privileged") and not found.get("systemd"):
        raise Failed(
            f"{host} is not run by systemd, which starts and watches our services",
            hint="choose hosts with systemd, or protect it from another one",
        )


def choose_python(host: str, found: Mapping[str, Any], named: str) -> tuple[str, str]:
    """(release, path) of the first Python that fits; a Python that was named must be of a supported release too."""
    here = this_platform()
    for release, path in found["pythons"]:
        if found["machine"] == here.machine and release == here.python:
            return release, path
        if release in PYTHONS and found["machine"] in MACHINES:
            return release, path
    if found["pythons"] and found["machine"] not in MACHINES:
        raise Failed(f"{host} is a {found['machine']}: there are bundles for {' and '.join(MACHINES)}",
                     hint="take the host out of the policy")  # fmt: skip
    has = ", ".join(
        [f"Python {release} at {path}" for release, path in found["pythons"]]
        + [f"Python {each.replace(' ', ' at ')} without one of {MODULES}" for each in found["lacking"]]
    )
    raise Failed(
        f"{host} has no Python from {PYTHONS[0]} to {PYTHONS[-1]}: it has {has or 'no Python at all'}"
        + (f" ({named} was asked for)" if named else ""),
        hint="install python3 (apt-get install python3, dnf install python3.12), or name one in agent_python",
    )


def made(host: str, kind: str, version: str, platform: Platform, cache: Path, found: Mapping[str, Any]) -> Path:
    """The bundle of this program for a platform. An older version can only come from the host itself."""
    if version != bundle.version(kind):
        there = ", ".join(sorted(found["versions"])) or "none"
        raise Failed(f"{host} has no {kind} of version {version} any more; there are: {there}",
                     hint="name one of those, or leave the version away to deploy this program's")  # fmt: skip
    return bundle.build(cache, platform, kind=kind).path


def require_space(host: str, found: Mapping[str, Any], need: int, wanted: Mapping[str, Any]) -> None:
    (free, device), (home_free, home_device) = (found[name].split(" ", 1) for name in ("root_free", "home_free"))
    checks = [(wanted["root"], free, need + (SPARE_BYTES if device == home_device else 0))]
    if device != home_device:
        checks.append((wanted["home"], home_free, SPARE_BYTES))
    for path, has, needs in checks:
        if float(has) < needs:
            raise Failed(
                f"{host} has {float(has) / 1e6:.0f} MB free at {path}; {needs / 1e6:.0f} MB are needed",
                hint=f"free some space on {host} ({path}), then apply again",
            )


def holds(certificate: str, ca_pem: str) -> bool:
    """Whether the host's certificate (PEM, base64) is of this site and has not ended."""
    if not certificate or not ca_pem:
        return False
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        ours = x509.load_pem_x509_certificate(base64.b64decode(certificate))
        ours.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return ours.not_valid_after_utc.timestamp() * 1e6 > SYSTEM.now()
