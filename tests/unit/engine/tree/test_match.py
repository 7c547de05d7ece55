from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine.model.errors import UsageError
from engine.tree.match import compile_excludes

CASES: list[tuple[str, str, bool]] = [  # pattern, path (a trailing slash says: a directory), excluded
    ("*.tmp", "/srv/a.tmp", True),
    ("*.tmp", "/srv/x/y/a.tmp", True),
    ("*.tmp", "/srv/a.tmp/inside", True),
    ("*.tmp", "/srv/a.tmp.keep", False),
    ("*.tmp", "/srv/.tmp", True),
    ("*.tmp", "/srv/tmp", False),
    ("core", "/srv/core", True),
    ("core", "/srv/core/", True),
    ("core", "/srv/hardcore", False),
    ("core", "/srv/cores", False),
    ("cache/", "/srv/cache/", True),
    ("cache/", "/srv/cache", False),
    ("cache/", "/srv/x/cache/deep/file", True),
    ("cache/", "/srv/mycache/file", False),
    ("build/*.o", "/srv/p/build/a.o", True),
    ("build/*.o", "/srv/p/build/sub/a.o", False),
    ("build/*.o", "/srv/p/rebuild/a.o", False),
    ("/srv/finance/cache", "/srv/finance/cache/", True),
    ("/srv/finance/cache", "/srv/finance/cache/x", True),
    ("/srv/finance/cache", "/srv/finance/cache2", False),
    ("/srv/finance/cache", "/data/srv/finance/cache", False),
    ("/srv/finance/cache/", "/srv/finance/cache", False),
    ("/srv/finance/cache/", "/srv/finance/cache/", True),
    ("/srv/*/log", "/srv/a/log/x", True),
    ("/srv/*/log", "/srv/a/b/log", False),
    ("/srv/**/log", "/srv/log", True),
    ("/srv/**/log", "/srv/a/b/log", True),
    ("/srv/**/log", "/srv/a/b/logs", False),
    ("/srv/**/a/**/b", "/srv/x/a/y/z/b", True),
    ("/srv/**/a/**/b", "/srv/x/y/z/b", False),
    ("/srv/**/a/b", "/srv/a/x/a/b", True),
    ("/**/b", "/a/b", True),
    ("**/node_modules", "/srv/p/node_modules/", True),
    ("node_modules/**", "/srv/p/node_modules/", False),
    ("node_modules/**", "/srv/p/node_modules/x", True),
    ("node_modules/**/", "/srv/p/node_modules/x", False),
    ("node_modules/**/", "/srv/p/node_modules/x/", True),
    ("a/**/b", "/srv/a/x/b", True),
    ("a/**/b", "/srv/a/b", True),
    ("a/**/**/b", "/srv/a/x/y/b", True),
    ("dir/*", "/srv/dir/", False),
    ("dir/*", "/srv/dir/.hidden", True),
    ("?.log", "/srv/é.log", True),
    ("?.log", "/srv/ab.log", False),
    ("[a-c]x", "/srv/bx", True),
    ("[!a-c]x", "/srv/bx", False),
    ("[!a-c]x", "/srv/éx", True),
    ("[]]x", "/srv/]x", True),
    ("[a&&b]x", "/srv/&x", True),
    (r"\*", "/srv/*", True),
    (r"\*", "/srv/a", False),
    (r"\!important", "/srv/!important", True),
    ("a.b", "/srv/aXb", False),
    ("*~", "/srv/name\nwith line~", True),
    ("*a*b*", "/srv/xaxbx", True),
    ("*a*b*", "/srv/xbxax", False),
    ("*ab*ab", "/srv/abab", True),
    ("*ab*ab", "/srv/ab", False),
    ("*/", "/srv/x/", True),
    ("*/", "/srv/x", False),
]


@pytest.mark.parametrize(("pattern", "path", "excluded"), CASES)
def test_patterns_mean_what_users_expect(pattern: str, path: str, excluded: bool) -> None:
    match = compile_excludes([pattern], root=b"/srv")
    assert match(path.rstrip("/").encode(), path.endswith("/")) is excluded


def test_any_of_several_patterns_excludes_and_none_excludes_nothing() -> None:
    match = compile_excludes(["*.tmp", "/srv/x", "cache/"], b"/srv")
    assert match(b"/srv/a.tmp", False) and match(b"/srv/x/y", False) and match(b"/srv/cache", True)
    assert not match(b"/srv/y", False)
    assert not compile_excludes([])(b"/a.tmp", False)


def test_floating_patterns_see_only_what_is_below_the_root() -> None:
    match = compile_excludes(["cache/", "*.d"], root=b"/var/cache/conf.d")
    assert not match(b"/var/cache/conf.d", True)
    assert not match(b"/var/cache/conf.d/file", False)
    assert match(b"/var/cache/conf.d/cache/file", False)
    assert compile_excludes(["x"], b"/")(b"/x", False)


def test_names_that_are_no_text_match() -> None:
    assert compile_excludes(["*.tmp"])(b"/caf\xe9.tmp", False)
    assert compile_excludes([b"caf\xe9"])(b"/x/caf\xe9", False)
    assert compile_excludes(["?.log"])(b"/\xe9.log", False)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/",
        "//",
        "*",
        "**",
        "/**",
        "/*",
        "**/*",
        "!keep",
        "a//b",
        "./a",
        "a/..",
        "a\0b",
        "[ab",
        "x\\",
        "[é]",
        "[z-a]",
    ],
)
def test_patterns_that_make_no_sense_are_refused_by_name(pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        compile_excludes([pattern])


def test_hostile_names_take_no_long_time() -> None:
    match = compile_excludes(["*a*a*a*a*a*a*a*a*b", "x/**/y/**/y/**/y/**/z", "*-*-*-*.log"])
    assert not match(b"/" + b"a" * 255, False)
    assert not match(b"/x" + b"/y" * 1500, True)
    assert not match(b"/" + b"-" * 255, False)


@given(some.text("ab*?", min_size=1, max_size=8), some.text("ab", min_size=1, max_size=8))
def test_names_match_as_fnmatch_does(pattern: str, name: str) -> None:
    if set(pattern) != {"*"}:
        expected = re.match(fnmatch.translate(pattern), name) is not None
        assert compile_excludes([pattern], b"/dir")(b"/dir/" + name.encode(), False) is expected
