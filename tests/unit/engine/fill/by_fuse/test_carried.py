"""Descriptors carried by one descriptor."""

from __future__ import annotations

import os
import subprocess
import sys

from engine.fill.by_fuse import carried


def test_everybody_who_has_it_gets_them_all_again_and_again() -> None:
    reading, writing = os.pipe()
    held = carried.pack([reading, writing])
    os.close(reading)
    os.close(writing)
    for _ in range(3):
        found = carried.unpack(held)
        os.write(found[1], b"x")
        assert os.read(found[0], 10) == b"x"
        for fd in found:
            assert not os.get_inheritable(fd)
            os.close(fd)
    script = f"from engine.fill.by_fuse import carried; import os; os.write(carried.unpack({held})[1], b'from another')"
    subprocess.run([sys.executable, "-c", script], pass_fds=[held], check=True)
    reading, writing = carried.unpack(held)
    assert os.read(reading, 100) == b"from another"
    os.close(writing)
    os.close(held)
    assert os.read(reading, 1) == b""  # nobody has the other end any more
    os.close(reading)
