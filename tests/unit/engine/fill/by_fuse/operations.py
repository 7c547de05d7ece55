"""A list of file operations, one after the other in a directory; what each said, and what the tree was afterwards.

Run as a program: `-m ...operations DIR` prints a JSON list of [name, result, tree]. Nothing in it is peculiar to a
machine, a time, or a file system: two directories that behave alike give equal lists.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys

from tests.unit.engine.fill.by_fuse import on_attributes, on_contents, on_names
from tests.unit.engine.fill.by_fuse.acts import ACTS, PAST, Act


def tree() -> list[object]:
    """All that is there, with what an application can see of it."""
    found: list[object] = []
    first: dict[int, str] = {}
    for base, directories, names in os.walk(".", topdown=True):
        directories.sort()
        if base.count("n" * 100) > 3:
            directories.clear()
        for name in sorted([*names, *directories]) if base != "./many" else []:
            path = os.path.join(base, name)
            status = os.lstat(path)
            content = ""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()[:16]
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            kept = {
                key: os.getxattr(path, key, follow_symlinks=False).hex()
                for key in os.listxattr(path, follow_symlinks=False)
            }
            found.append(
                [
                    *(path, oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_rdev),
                    *(0 if stat.S_ISDIR(status.st_mode) else status.st_size, status.st_mtime_ns == PAST, content, kept),
                    first.setdefault(status.st_ino, path),
                ]
            )
    return found


def age() -> None:
    """Give everything one time of change, so that what is changed next shows."""
    for base, directories, names in os.walk(".", topdown=False):
        for name in [*names, *directories]:
            os.utime(os.path.join(base, name), ns=(PAST, PAST), follow_symlinks=False)


def _all() -> list[tuple[str, Act]]:
    """Each goes on with what those before it left."""
    modules = [module.__name__ for module in (on_contents, on_attributes, on_names)]
    return sorted(ACTS, key=lambda each: modules.index(each[1].__module__))


def run(directory: str) -> list[object]:
    os.chdir(directory)
    os.umask(0o022)
    done: list[object] = []
    for name, action in _all():
        age()
        try:
            result: object = repr(action())
        except OSError as error:
            result = f"{errno.errorcode.get(error.errno or 0)}: {error.filename}"
        done.append([name, result, tree()])
    return done


if __name__ == "__main__":
    json.dump(run(sys.argv[1]), sys.stdout)
