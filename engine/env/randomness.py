"""Randomness from the kernel: keys, salts and names that must never meet."""

from __future__ import annotations

import secrets


def token_bytes(count: int) -> bytes:
    """`count` bytes that nobody can foresee."""
    return secrets.token_bytes(count)


def token_hex(count: int) -> str:
    """`count` such bytes as 2 * `count` hexadecimal digits."""
    return secrets.token_hex(count)
