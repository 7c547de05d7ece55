"""Names of the journal's objects (docs/format.md, "Names"): built here, read back here, nowhere else.

Numbers have a fixed width, so that names sort as what they stand for. `hash` is BLAKE3, 128 bits, of the object's
whole content: a metadata object that is not what it was when written is known from its name alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from blake3 import blake3

from engine.model.ids import Position

FORMAT = "bcs.json"
BOOTS = "control/boots/"
POLICIES = "control/policies/"
STREAMS = "streams/"
L0 = "L0/"
L1 = "L1/"
PACKS = "packs/"
KEYS = "keys/"
SITE = "site"
"""The scope of the key that seals packs; no group may be called so within `keys/`: groups' keys lie in `keys/g-...`."""

HASH_BYTES = 16

SEQ_FIRST = 1
"""The first commit of every boot."""

_NODE = r"[a-z0-9][a-z0-9-]{0,62}"
_HASH = r"[0-9a-f]{32}"
_RUN = rf"(?P<node>{_NODE})\.(?P<boot>[0-9a-f]{{8}})"
_L0 = re.compile(rf"L0/{_RUN}/(?P<first>[0-9a-f]{{12}})\.(?P<hash>{_HASH})\.parquet")
_L1 = re.compile(
    rf"L1/{_RUN}/(?P<first>[0-9a-f]{{12}})-(?P<last>[0-9a-f]{{12}})\.(?P<generation>[0-9]+)\.(?P<hash>{_HASH})\.parquet"
)
_PACK = re.compile(rf"packs/{_RUN}/(?P<first>[0-9a-f]{{12}})")
_CHECKPOINT = re.compile(
    rf"streams/(?P<stream>[0-9a-f]+)/checkpoints/(?P<epoch>[0-9a-f]{{8}})-(?P<lsn>[0-9a-f]{{16}})"
    rf"\.(?P<generation>[0-9]+)\.(?P<hash>{_HASH})\.parquet"
)
_HASHED = re.compile(rf"\.(?P<hash>{_HASH})\.parquet$")
_NUMBERED = re.compile(r"/(?P<number>[0-9]{1,8})\.json$")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """An immutable object of events: commits seq_first..seq_last of one boot of one node.

    `level` 0 is one commit as it was made, 1 a merger of several, the higher `generation` the later one.
    `size` in bytes, as listed.
    """

    boot: int
    node: str
    seq_first: int
    seq_last: int
    level: int
    generation: int
    hash: str
    size: int
    key: str

    @property
    def run(self) -> str:
        """The boot that wrote these commits: `<node>.<boot>`."""
        return run_name(self.node, self.boot)


@dataclass(frozen=True, slots=True, order=True)
class CheckpointName:
    """A folded state of one stream, as its key says."""

    position: Position
    generation: int
    stream: str
    hash: str
    key: str


def content_hash(content: bytes | memoryview) -> str:
    """BLAKE3, 128 bits, in hexadecimal: what names of metadata objects carry."""
    return blake3(content).hexdigest(HASH_BYTES)


def check_node(node: str) -> str:
    """`node`, or ValueError if it can't be part of a name."""
    if re.fullmatch(_NODE, node) is None:
        raise ValueError(f"{node!r} is no node id: lower case letters, digits and '-', at most 63")
    return node


def run_name(node: str, boot: int) -> str:
    return f"{check_node(node)}.{boot:08x}"


def l0_key(node: str, boot: int, seq: int, content: bytes | memoryview) -> str:
    return f"{L0}{run_name(node, boot)}/{seq:012x}.{content_hash(content)}.parquet"


def l1_key(node: str, boot: int, first: int, last: int, generation: int, content: bytes | memoryview) -> str:
    return f"{L1}{run_name(node, boot)}/{first:012x}-{last:012x}.{generation}.{content_hash(content)}.parquet"


def pack_key(node: str, boot: int, seq: int) -> str:
    return f"{PACKS}{run_name(node, boot)}/{seq:012x}"


def boot_key(number: int) -> str:
    return f"{BOOTS}{number:08d}.json"


def stream_key(stream: str) -> str:
    return f"{STREAMS}{stream}/stream.json"


def epochs_prefix(stream: str) -> str:
    return f"{STREAMS}{stream}/epochs/"


def epoch_key(stream: str, number: int) -> str:
    return f"{epochs_prefix(stream)}{number:08d}.json"


def checkpoints_prefix(stream: str) -> str:
    return f"{STREAMS}{stream}/checkpoints/"


def checkpoint_key(stream: str, position: Position, generation: int, content: bytes | memoryview) -> str:
    return f"{checkpoints_prefix(stream)}{position.key}.{generation}.{content_hash(content)}.parquet"


def group_scope(group: str) -> str:
    """The key scope of a group: prefixed, so that a group called `site` is not the site."""
    return f"g-{group}"


def keys_prefix(scope: str) -> str:
    return f"{KEYS}{scope}/"


def data_key_key(scope: str, number: int) -> str:
    return f"{keys_prefix(scope)}{number}.json"


def parse_segment(key: str, size: int = 0) -> Segment | None:
    """The segment that a key of L0/ or L1/ names; None for any other key."""
    match = _L0.fullmatch(key)
    level, generation = 0, 0
    if match is None:
        match = _L1.fullmatch(key)
        if match is None:
            return None
        level, generation = 1, int(match["generation"])
    first = int(match["first"], 16)
    last = int(match["last"], 16) if level else first
    if not SEQ_FIRST <= first <= last:
        return None
    return Segment(int(match["boot"], 16), match["node"], first, last, level, generation, match["hash"], size, key)


def parse_pack(key: str) -> tuple[str, int, int] | None:
    """(node, boot, seq) of the commit that a pack belongs to; None for any other key."""
    match = _PACK.fullmatch(key)
    return (match["node"], int(match["boot"], 16), int(match["first"], 16)) if match else None


def parse_checkpoint(key: str) -> CheckpointName | None:
    match = _CHECKPOINT.fullmatch(key)
    if match is None:
        return None
    position = Position(int(match["epoch"], 16), int(match["lsn"], 16))
    return CheckpointName(position, int(match["generation"]), match["stream"], match["hash"], key)


def hash_in(key: str) -> str | None:
    """The content hash that a name carries, None if it carries none."""
    match = _HASHED.search(key)
    return match["hash"] if match else None


def number_in(key: str) -> int | None:
    """The number of a numbered document, None if the key is not of one."""
    match = _NUMBERED.search(key)
    return int(match["number"]) if match else None
