"""A policy repository to begin with: protects one directory of this machine with the embedded site."""

from __future__ import annotations

import json
import os
from pathlib import Path
from string import Template

from engine.model.errors import Refused, UsageError
from engine.reconcile.schema import schema

_GROUP = Template("""\
# yaml-language-server: $$schema=../.bcs/policy.schema.json
#
# What belongs together, and what it must survive. `bcsctl schema ProtectionGroup` lists every key.
apiVersion: bcs/v1alpha1
kind: ProtectionGroup
metadata:
  name: my-files
spec:
  sources:
    - files:
        paths:
$paths
        exclude: ["*.tmp", "*.swp"]
  objectives:
    rpo: 5s       # no more than the last five seconds may ever be lost
    rto: 10m      # and everything is back within ten minutes
  retention:      # the history grows coarser with age; nothing else deletes
    tiers:
      - {keep: every-change, for: 7d}
      - {keep: 1h, for: 90d}
      - {keep: 1d, for: 1y}
""")
_SETTINGS = """\
# Settings of bcsctl in this repository. The environment (BCS_HOME) and flags win over them.
policies = "policies"
# home = "/srv/bcs"     # where the embedded site keeps the journal; the default is BCS_HOME's
"""
_IGNORED = """\
/data/
*.plan
"""
_README = Template("""\
# What must survive

The policies of this machine, as code. Change them, look at `bcsctl plan`, then `bcsctl apply`.

    bcsctl apply                # protect what policies/ says
    bcsctl status               # policy, agent and data of every source
    bcsctl points $address
    bcsctl restore $address --at -5m --to /tmp/back

`policies/my-files.yaml` protects:

$listed
""")


def scaffold(folder: Path, protect: tuple[Path, ...] = ()) -> list[Path]:
    """Write a repository that works at once, and answer its files.

    It protects the absolute paths given; without any, `data` in the repository, made with a first
    file in it. Refused, with nothing written, when one of the files is there already.
    """
    for path in protect:
        if not path.is_dir() and not path.is_file():
            raise UsageError(f"{path} is not there", hint="name a directory or file that exists, with --protect")
    paths = tuple(path.absolute() for path in protect) or ((folder / "data").absolute(),)
    content = {folder / name: text for name, text in _files(paths).items()}
    if not protect:
        content[folder / "data" / "hello.txt"] = "Change me, then look at: bcsctl log my-files/localhost/files:FILE\n"
    for file in content:
        if os.path.lexists(file):
            raise Refused(f"{file} is already there", hint="nothing was written: name another directory")
    for file, text in content.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return list(content)


def _files(paths: tuple[Path, ...]) -> dict[str, str]:
    # JSON strings are YAML strings, whatever characters a path has.
    listed = "\n".join(f"          - {json.dumps(str(path), ensure_ascii=False)}" for path in paths)
    return {
        "policies/my-files.yaml": _GROUP.substitute(paths=listed),
        "bcs.toml": _SETTINGS,
        ".gitignore": _IGNORED,
        ".bcs/policy.schema.json": json.dumps(schema(), indent=2) + "\n",
        "README.md": _README.substitute(
            address="my-files/localhost/files", listed="\n".join(f"- `{path}`" for path in paths)
        ),
    }
