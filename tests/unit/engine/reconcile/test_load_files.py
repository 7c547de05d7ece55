"""Which files are read, and that nothing they hold gets past the loader but as a fault."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.reconcile.load import load, place, with_applied
from engine.reconcile.load_yaml import BYTES_MAX, documents
from engine.reconcile.resolve import examine
from engine.reconcile.schema import schema

GROUP = """apiVersion: bcs/v1alpha1
kind: ProtectionGroup
metadata: {name: NAME}
spec:
  sources:
    - files: {paths: [/srv/NAME]}
"""


def write(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GROUP.replace("NAME", name))
    return path


def messages(*paths: Path) -> list[str]:
    return [fault.message for fault in load(paths).errors]


def test_reads_directories_recursively_and_in_order(tmp_path: Path) -> None:
    for where in ("b.yaml", "a/z.yml", "a/y.yaml"):
        write(tmp_path / where, where.replace("/", "-").partition(".")[0])
    (tmp_path / "README.md").write_text("no policy")
    loaded = load([tmp_path])
    assert [placed.document.name for placed in loaded.documents] == ["a-y", "a-z", "b"]
    assert loaded.errors == ()


def test_passes_over_inventory_and_hidden_directories(tmp_path: Path) -> None:
    write(tmp_path / "group.yaml", "one")
    for folder in ("inventory", ".github", "deep/inventory"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.yml").write_text("all: {}")
    assert load([tmp_path]).errors == ()


def test_a_file_met_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "group.yaml", "one")
    (tmp_path / "link.yaml").symlink_to(file)
    assert len(load([tmp_path, file]).documents) == 1


def test_symlinks_in_circles_are_faults_or_harmless(tmp_path: Path) -> None:
    write(tmp_path / "group.yaml", "one")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "self.yaml").symlink_to(tmp_path / "self.yaml")
    loaded = load([tmp_path])
    assert len(loaded.documents) == 1
    assert [(fault.file, fault.message) for fault in loaded.errors] == [
        (str(tmp_path / "self.yaml"), "cannot be read: too many levels of symbolic links")
    ]


def test_what_is_not_there_or_no_file_is_a_fault(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder").mkdir()
    assert messages(tmp_path / "nowhere") == ["cannot be read: no such file or directory"]
    assert messages(tmp_path / "pipe.yaml") == ["is not a regular file"]
    assert messages(tmp_path / "folder") == ["the directory holds no policy file"]
    [told] = messages(Path("a\0b"))
    assert told.startswith("cannot be read: ") and "embedded null" in told  # the words after it are Python's


def test_large_files_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"#" * (BYTES_MAX + 1))
    assert messages(file) == [f"the file has {BYTES_MAX + 1} bytes; a policy file has at most {BYTES_MAX}"]
    with file.open("r+b") as stream:
        stream.truncate(1 << 40)
    assert "a policy file has at most" in messages(file)[0]


def test_documents_before_a_broken_one_are_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "group.yaml", "one")
    file.write_text(file.read_text() + "---\na: [\n")
    loaded = load([file])
    assert [placed.document.name for placed in loaded.documents] == ["one"]
    assert len(loaded.errors) == 1
    assert not loaded.complete


def test_byte_order_mark_and_carriage_returns_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GROUP.replace("\n", "\r\n").replace("NAME", "one").encode())
    assert load([file]).errors == ()


def test_utf16_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "wide.yaml"
    file.write_bytes(GROUP.encode("utf-16"))
    (fault,) = load([file]).errors
    assert (fault.line, fault.column, fault.message) == (1, 1, "byte 0xff is not UTF-8")


def test_several_faults_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "group.yaml"
    file.write_text(GROUP.replace("NAME", "one") + "  objectives: {rpo: 5, rto: x, rtt: 1s}\n  zzz: 1\n")
    found = [(fault.line, fault.path, fault.message) for fault in load([file]).errors]
    assert found == [
        (7, "spec.objectives.rpo", "expected a duration, found the number 5"),
        (7, "spec.objectives.rto", "'x' is not a duration"),
        (7, "spec.objectives.rtt", "unknown key 'rtt'"),
        (8, "spec.zzz", "unknown key 'zzz'"),
    ]


def test_a_reference_to_a_faulty_document_is_no_second_fault(tmp_path: Path) -> None:
    file = tmp_path / "group.yaml"
    file.write_text(
        GROUP.replace("NAME", "one")
        + "  retention: gold\n---\napiVersion: bcs/v1alpha1\nkind: RetentionPolicy\n"
        + "metadata: {name: gold}\nspec: {tiers: []}\n"
    )
    _, faults = examine(load([file]))
    assert [fault.message for fault in faults] == ["the list is empty"]


def test_yaml_1_2_words_are_text(tmp_path: Path) -> None:
    (node,) = documents("on: [yes, no, off, y, 1:30, 2026-11-22, 0777, ~, null, true, 0x1f, 1.5]", "f", [])
    assert node.plain() == {"on": ["yes", "no", "off", "y", "1:30", "2026-11-22", 777, None, None, True, 31, 1.5]}


def test_places_are_those_of_keys_and_values() -> None:
    (node,) = documents("a:\n  b: [1, {c: x}]\n", "f", [])
    assert place(node, ("a", "b", 1, "c")) == (2, 14)
    assert place(node, ("a", "b", 1, "c"), at_key=True) == (2, 11)
    assert place(node, ("a", "nowhere")) == (2, 3)


HOSTILE = {
    "brackets": "[" * 900_000,
    "braces": "{a: " * 200_000,
    "dashes": "- " * 400_000,
    "long-scalar": "a: " + "x" * 900_000,
    "long-key": "x" * 900_000 + ": 1",
    "many-keys": "".join(f"k{n}: 1\n" for n in range(60_000)),
    "many-items": "- a\n" * 200_000,
    "many-documents": "---\n" * 200_000,
    "escapes": '"' + "\\x41" * 200_000 + '"',
    "anchors": "".join(f"- &a{n} x\n" for n in range(60_000)),
    "alias-ladder": "a0: &a0 [[[[[[[[x]]]]]]]]\n"
    + "".join(f"a{n}: &a{n} [[[[[[[[*a{n - 1}]]]]]]]]\n" for n in range(1, 90)),
    "unknown-keys": GROUP.replace("NAME", "one") + "".join(f"  k{n}: 1\n" for n in range(9_000)),
    "unknown-long-key": GROUP.replace("NAME", "one") + f"  ? {'retension' * 50_000}\n  : 1\n",
    "many-sources": GROUP.replace("NAME", "one")
    + "".join(f"    - {{name: n{n}, files: {{paths: [/srv/one/{n}]}}}}\n" for n in range(250)),
    "many-paths": GROUP.replace("[/srv/NAME]", "[" + ", ".join(f"/srv/{n}" for n in range(18_000)) + "]"),
    "huge-number": "a: " + "9" * 500_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_a_fault_within_two_seconds(name: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(HOSTILE[name])
    begin = time.process_time()
    policies, faults = examine(load([file]))
    assert time.process_time() - begin < 2
    assert policies is None
    assert faults
    assert all(len(fault.message) < 400 and len(fault.path) < 400 for fault in faults)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_no_bytes_make_it_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(data)
    policies, faults = examine(load([file]))
    assert policies is None
    assert faults


_SCALARS = st.sampled_from(
    ["5s", "-1h", "", "/srv", "gold", "*", "true", "~", "1", "1.5", "latest", "sf", "a b", "${X}"]
)
_KEYS = sorted(set(re.findall(r'"([a-zA-Z]+)": (?=\{")', json.dumps(schema()))) - {"then", "else", "items"})
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["Site", "ProtectionGroup", "RetentionPolicy", "AccessPolicy", "Notification", "Defaults"]),
    metadata=_VALUES,
    spec=_VALUES,
)
def test_no_document_makes_it_raise(
    tmp_path_factory: pytest.TempPathFactory, kind: str, metadata: object, spec: object
) -> None:
    file = tmp_path_factory.getbasetemp() / "document.yaml"
    document = {"apiVersion": "bcs/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
    file.write_text(json.dumps([document])[1:-1])
    policies, faults = examine(load([file]))
    assert (policies is None) == bool(faults)
    for fault in faults:
        assert fault.line == 1
        assert fault.column >= 1


def test_a_part_is_completed_with_what_was_applied(tmp_path: Path) -> None:
    applied = {placed.document.key: placed.document.raw for placed in load([write(tmp_path / "a.yaml", "a")]).documents}
    part = with_applied(load([write(tmp_path / "b.yaml", "b")]), applied)
    assert [placed.document.key for placed in part.documents] == ["ProtectionGroup/b", "ProtectionGroup/a"]
    again = with_applied(load([tmp_path / "a.yaml"]), applied)
    assert [placed.document.file for placed in again.documents] == [str(tmp_path / "a.yaml")]


def test_start_up_is_quick(tmp_path: Path) -> None:
    """`bcsctl validate` may take 300 ms; the loader's part of processor time is bounded with room for slow machines."""
    file = write(tmp_path / "group.yaml", "one")
    code = (
        "import sys, time; from engine.reconcile.load import load; from engine.reconcile.resolve import examine;"
        "assert examine(load([sys.argv[1]]))[0]; print(time.process_time())"
        ";assert not {'duckdb', 'pyarrow', 'ansible', 'difflib'} & set(sys.modules)"
    )
    seconds = min(
        float(subprocess.run([sys.executable, "-c", code, file], check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    )
    assert seconds < 0.6
