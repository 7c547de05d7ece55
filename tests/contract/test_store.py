"""What engine.store.base.Store promises, for every store that there is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from engine.model.errors import Damaged
from engine.store.base import AlreadyThere, Item, Missing, Store


def keys(items: Iterator[Item]) -> list[str]:
    return [item.key for item in items]


# put and get


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"", b""),
        (b"abc", b"abc"),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"xabcx")[1:4], b"abc"),
        ([], b""),
        ([b"a", bytearray(b""), memoryview(b"bc")], b"abc"),
        ((b"ab", b"c"), b"abc"),
        ([bytes([number % 256]) for number in range(5000)], bytes(number % 256 for number in range(5000))),
    ],
)
def test_what_is_put_is_got(store: Store, data: object, content: bytes) -> None:
    store.put("a/b.x", data)  # type: ignore[arg-type]
    assert store.get("a/b.x") == content
    assert type(store.get("a/b.x")) is bytes
    assert store.size("a/b.x") == len(content)


@pytest.mark.parametrize("content", [b"first", b"other"])
def test_a_key_is_created_once(store: Store, content: bytes) -> None:
    store.put("a", b"first")
    with pytest.raises(AlreadyThere) as caught:
        store.put("a", content)
    assert caught.value.key == "a"
    with store.open_put("a") as upload:
        upload.write(content)
        with pytest.raises(AlreadyThere):
            upload.commit()
    assert store.get("a") == b"first"


def test_a_later_change_of_the_buffer_changes_nothing(store: Store) -> None:
    buffer = bytearray(b"abc")
    store.put("a", buffer)
    with store.open_put("b") as upload:
        upload.write(buffer)
        buffer[:] = b"xyz"
        upload.write(memoryview(buffer))
        buffer[:] = b"..."
        upload.commit()
    assert (store.get("a"), store.get("b")) == (b"abc", b"abcxyz")


def test_a_big_object(store: Store) -> None:
    block = hashlib.blake2b(b"seed").digest() * (1 << 14)  # 1 MiB
    with store.open_put("packs/big") as upload:
        for _ in range(40):
            upload.write([block[: 1 << 19], memoryview(block)[1 << 19 :]])
        assert keys(store.list("")) == []
        upload.commit()
    assert store.size("packs/big") == 40 << 20
    assert store.get_range("packs/big", (39 << 20) + 5, 100) == block[5:105]
    assert hashlib.sha256(store.get("packs/big")).digest() == hashlib.sha256(block * 40).digest()


def test_what_is_missing(store: Store) -> None:
    store.put("a/b", b"")
    for key in ("a/c", "b", "a/b.x", "a"):
        for look in (store.get, store.size, store.local_path, lambda key: store.get_range(key, 0, 1)):
            with pytest.raises(Missing) as caught:
                look(key)
            assert caught.value.key == key
            assert key in caught.value.message


# uploads


def test_an_upload_shows_only_when_committed(store: Store) -> None:
    with store.open_put("u/1") as upload:
        upload.write(b"abc")
        assert keys(store.list("")) == []
        with pytest.raises(Missing):
            store.get("u/1")
        upload.commit()
        upload.abort()
    assert store.get("u/1") == b"abc"


def test_an_upload_that_is_left_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.open_put("u/1") as upload:
        upload.write(b"abc")
        raise RuntimeError
    upload.abort()
    assert keys(store.list("")) == []
    store.put("u/1", b"other")
    assert store.get("u/1") == b"other"


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_an_upload_ends_once(store: Store, end: str) -> None:
    upload = store.open_put("u/1")
    getattr(upload, end)()
    with pytest.raises(ValueError, match=r"over|published"):
        upload.write(b"more")
    with pytest.raises(ValueError, match=r"over|published"):
        upload.commit()
    upload.abort()
    assert keys(store.list("")) == (["u/1"] if end == "commit" else [])


def test_an_upload_loses_to_a_put(store: Store) -> None:
    with store.open_put("u/1") as upload:
        upload.write(b"slow")
        store.put("u/1", b"fast")
        with pytest.raises(AlreadyThere):
            upload.commit()
    assert store.get("u/1") == b"fast"


# ranges


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (0, 1), (9, 1), (3, 4), (0, 0), (10, 0), (50, 0)])
def test_ranges(store: Store, offset: int, length: int) -> None:
    store.put("r", b"0123456789")
    assert store.get_range("r", offset, length) == b"0123456789"[offset : offset + length]


@pytest.mark.parametrize(("offset", "length", "got"), [(0, 11, 10), (9, 2, 1), (10, 1, 0), (1 << 40, 1, 0)])
def test_a_range_past_the_end_is_damage(store: Store, offset: int, length: int, got: int) -> None:
    store.put("r", b"0123456789")
    with pytest.raises(Damaged) as caught:
        store.get_range("r", offset, length)
    assert caught.value.details == {"object": "r", "offset": offset, "bytes_asked": length, "bytes_got": got}
    assert f"object r ends early: asked for {length} bytes at {offset}, got {got}" in caught.value.message


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (-1, 0)])
def test_negative_ranges(store: Store, offset: int, length: int) -> None:
    store.put("r", b"0123456789")
    with pytest.raises(ValueError, match="negative"):
        store.get_range("r", offset, length)


# keys

BAD_KEYS = ["", "/", "/a", "a/", "a//b", ".", "..", ".a", "a/.b", "a/../b", "a b", "a\n", "ä", "a\0", "a\\b", "a:b"]


@pytest.mark.parametrize("key", [*BAD_KEYS, "k" * 513, "k" * 256, "d/" + "k" * 256], ids=repr)
def test_bad_keys(store: Store, key: str) -> None:
    for use in (
        store.get,
        store.size,
        store.delete,
        store.local_path,
        store.open_put,
        lambda key: store.put(key, b""),
        lambda key: store.get_range(key, 0, 0),
    ):
        with pytest.raises(ValueError, match="no object key"):
            use(key)


@pytest.mark.parametrize(
    "key", ["a", "_", "-", "A.B", "a..b", "0/1/2/3", "k" * 255, "/".join(["k" * 100] * 5)], ids=len
)
def test_good_keys(store: Store, key: str) -> None:
    store.put(key, b"x")
    assert keys(store.list("")) == [key]
    assert store.get(key) == b"x"


def test_a_key_is_no_directory_of_another(store: Store) -> None:
    store.put("a/b", b"1")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(ValueError, match="object"):
            store.put(key, b"2")
    assert keys(store.list("")) == ["a/b"]


# listing

TREE = ["L0/a-b", "L0/a.b", "L0/a/1", "L0/a/10", "L0/a/2", "L0/a0", "L0/b/x/y", "L0/b/x/z", "L1/1", "Z", "_", "z/z"]


@pytest.fixture
def tree(store: Store) -> Store:
    for key in reversed(TREE):
        store.put(key, key.encode())
    return store


def test_the_tree_is_in_order() -> None:
    assert sorted(TREE, key=str.encode) == TREE


@pytest.mark.parametrize(
    "prefix", ["", "L0/", "L0", "L", "L0/a", "L0/a/", "L0/a/1", "L0/b/x/", "z/", "none/", "Z", "Z/"]
)
def test_list_by_prefix(tree: Store, prefix: str) -> None:
    assert list(tree.list(prefix)) == [Item(key, len(key)) for key in TREE if key.startswith(prefix)]


@pytest.mark.parametrize("prefix", ["", "L0/", "L0/a", "L0/a/"])
def test_list_after_each(tree: Store, prefix: str) -> None:
    for after in [*TREE, "L0/a", "L0/a/", "L0/a/1!", "L", "L0/b", "L0/b/x", "zz", "!"]:
        wanted = [key for key in TREE if key.startswith(prefix) and key > after]
        assert keys(tree.list(prefix, after)) == wanted, after


@pytest.mark.parametrize("prefix", ["/", "/a", "a//", ".", "a/.", "../", "a b", "ä"])
def test_bad_prefixes(store: Store, prefix: str) -> None:
    with pytest.raises(ValueError, match="begins with"):
        store.list(prefix)


def test_list_of_an_empty_store(store: Store) -> None:
    assert list(store.list("")) == []
    assert list(store.list("a/b/")) == []


def test_list_of_many(store: Store) -> None:
    names = [f"many/{number:05d}" for number in range(300)]
    for name in reversed(names):
        store.put(name, b"")
    assert keys(store.list("many/")) == names
    assert keys(store.list("many/", names[250])) == names[251:]


def test_deleting_while_listing(tree: Store) -> None:
    seen = []
    for item in tree.list(""):
        seen.append(item.key)
        tree.delete(item.key)
    assert seen == TREE
    assert list(tree.list("")) == []


# deleting


def test_delete(store: Store) -> None:
    store.put("a/1", b"1")
    store.put("a/2", b"2")
    store.delete("a/1")
    store.delete("a/1")
    store.delete("never")
    store.delete("never/ever")
    store.delete("a")
    store.delete("a/2/3")
    assert keys(store.list("")) == ["a/2"]
    with pytest.raises(Missing):
        store.get("a/1")
    store.put("a/1", b"again")
    assert store.get("a/1") == b"again"


def test_deleting_several_at_once(store: Store) -> None:
    for key in ("a/1", "a/2", "b/1", "b/2"):
        store.put(key, b"content")
    store.delete("a/1", "never", "b/1", "a/1")
    store.delete()
    assert keys(store.list("")) == ["a/2", "b/2"]
    with pytest.raises(ValueError, match="a//b"):
        store.delete("a/2", "a//b")
    assert keys(store.list("")) == ["a/2", "b/2"]


# local paths


def test_a_local_path_holds_the_object(store: Store) -> None:
    store.put("a/1", b"abc")
    path = store.local_path("a/1")
    assert path is None or path.read_bytes() == b"abc"
