"""Runs on a lab host: prints what a tree is, byte for byte and attribute for attribute, a JSON line an entry.

Usage: manifest.py TREE
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys


def main(tree: str) -> None:
    first_name: dict[tuple[int, int], str] = {}
    for folder, folders, files in os.walk(tree):
        folders.sort()
        for path in [folder, *(os.path.join(folder, name) for name in sorted(files))]:
            print(json.dumps(entry(tree, path, first_name)))


def entry(tree: str, path: str, first_name: dict[tuple[int, int], str]) -> list[object]:
    """[name, type and mode, owner, group, size, modified in ns, content, link target, xattrs, first name of a link]"""
    found, name = os.lstat(path), os.path.relpath(path, tree)
    is_file, is_link = stat.S_ISREG(found.st_mode), stat.S_ISLNK(found.st_mode)
    keys = sorted(os.listxattr(path, follow_symlinks=False))
    xattrs = {key: os.getxattr(path, key, follow_symlinks=False).hex() for key in keys}
    linked = first_name.setdefault((found.st_dev, found.st_ino), name) if is_file and found.st_nlink > 1 else ""
    return [
        name, oct(found.st_mode), found.st_uid, found.st_gid, found.st_size if is_file else 0, found.st_mtime_ns,
        content(path) if is_file else "", os.readlink(path) if is_link else "", xattrs, linked,
    ]  # fmt: skip


def content(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main(sys.argv[1])
