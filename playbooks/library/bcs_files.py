"""An Ansible module: directories and small files with their owners and modes, all in one go, with a difference each.

Every task costs a second or two a host, so a role lists what it wants instead of looping. A file appears whole or not
at all. `made` are files of random bits that are made on the host when they are absent, and never read or replaced; nor
made where `unless` is there, which an earlier one belongs to.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ENTRY = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "required": True},
    "owner": {"type": "str", "default": ""},
    "group": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "dict", "options": ENTRY, "default": []},
            "files": {
                "type": "list",
                "elements": "dict",
                "options": {**ENTRY, "content": {"type": "str", "required": True}},
                "default": [],
            },
            "made": {
                "type": "list",
                "elements": "dict",
                "options": {
                    **ENTRY,
                    "bytes": {"type": "int", "default": 32},
                    "unless": {"type": "path", "required": True},
                },
                "default": [],
            },
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    diffs: list[dict[str, str]] = []
    try:
        for each in module.params["directories"]:
            diffs += directory(each, module.check_mode)
        for each in module.params["made"]:
            if os.path.lexists(each["unless"]) and not os.path.lexists(each["path"]):
                module.fail_json(
                    msg=f"{each['unless']} is there, but {each['path']}, which opens it, is not",
                    hint=f"put the saved copy of {each['path']} back: a new one could not open what is there",
                )
            diffs += made(each, module.check_mode)
        for each in module.params["files"]:
            diffs += file(each, each["content"].encode(), module.check_mode)
        diffs += [each for path in module.params["absent"] for each in absent(path, module.check_mode)]
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename}: {error.strerror}", hint="see that path on the host, then apply again", diff=diffs
        )
    module.exit_json(changed=bool(diffs), diff=diffs)


def directory(wanted: dict[str, Any], check: bool) -> list[dict[str, str]]:
    path = wanted["path"]
    if os.path.islink(path):
        # Above may be a service's own directory. What it put there may not turn our rights against others.
        if os.lstat(path).st_uid not in (0, os.geteuid()):
            raise OSError(errno.ELOOP, "is a symbolic link that neither root nor we have made", path)
        wanted = {**wanted, "path": (path := os.path.realpath(path))}
    if os.path.isdir(path):
        return rights(wanted, check)
    if not check:
        os.makedirs(path, mode=0o755)
        rights(wanted, check)
    return [difference(path, "", f"a directory, {shown(wanted)}\n")]


def file(wanted: dict[str, Any], content: bytes, check: bool) -> list[dict[str, str]]:
    path = wanted["path"]
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as there:
            before = there.read()
    except FileNotFoundError:
        before = None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        before = b"a symbolic link\n"  # where it leads is not ours to show; a file takes its place
    if before == content:
        return rights(wanted, check)
    if not check:
        replace(wanted, content)
    return [difference(path, (before or b"").decode("utf-8", "replace"), content.decode())]


def made(wanted: dict[str, Any], check: bool) -> list[dict[str, str]]:
    """Hexadecimal digits and a line's end. Its content is in no difference, and in no answer."""
    path = wanted["path"]
    if os.path.lexists(path):
        return rights(wanted, check)
    if not check:
        replace(wanted, os.urandom(wanted["bytes"]).hex().encode() + b"\n")  # noqa: TID251
    return [difference(path, "", f"{wanted['bytes']} random bytes, made on the host, {shown(wanted)}\n")]


def absent(path: str, check: bool) -> list[dict[str, str]]:
    if not os.path.lexists(path):
        return []
    if not check:
        if os.path.isdir(path) and not os.path.islink(path):
            import shutil

            shutil.rmtree(path)
        else:
            os.unlink(path)
    return [difference(path, "there\n", "")]


def replace(wanted: dict[str, Any], content: bytes) -> None:
    """Durably, and with its rights before anyone sees it under its name."""
    path = wanted["path"]
    unfinished = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(opened, "wb") as target:
            target.write(content)
            rights({**wanted, "path": unfinished}, False)
            target.flush()
            os.fsync(target.fileno())
        os.rename(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    above = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(above)
    os.close(above)


def rights(wanted: dict[str, Any], check: bool) -> list[dict[str, str]]:
    path, mode = wanted["path"], int(wanted["mode"], 8)
    found = os.lstat(path)
    owner, group = ids(wanted, found, check)
    if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (owner, group, mode):
        return []
    if not check:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fchown(opened, owner, group)
            os.fchmod(opened, mode)
        finally:
            os.close(opened)
    before = f"{found.st_uid}:{found.st_gid} {stat.S_IMODE(found.st_mode):04o}\n"
    return [difference(path, before, f"{owner}:{group} {mode:04o}\n")]


def ids(wanted: dict[str, Any], found: os.stat_result, check: bool) -> tuple[int, int]:
    """The wanted owner and group as numbers, those that it has where none are named."""
    try:
        owner = pwd.getpwnam(wanted["owner"]).pw_uid if wanted["owner"] else found.st_uid
        group = grp.getgrnam(wanted["group"]).gr_gid if wanted["group"] else found.st_gid
    except KeyError as error:
        if check:  # made by an earlier task, had it been run
            return -1, -1
        raise OSError(0, f"there is no such user or group: {error}", wanted["path"]) from None
    return owner, group


def shown(wanted: dict[str, Any]) -> str:
    return f"{wanted['owner'] or 'its maker'}:{wanted['group'] or 'its group'} {wanted['mode']}"


def difference(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


if __name__ == "__main__":
    main()
