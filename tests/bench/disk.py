"""What the machine itself says: the disk's synced write rate, and a process's CPU time and memory."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

DD_SECONDS = 1.0


def synced_rate(place: Path, block_bytes: int) -> float:
    """Bytes a second that `dd oflag=dsync` writes with blocks of that size, in about DD_SECONDS."""
    data = place / "dd-data"
    target = place / "dd-target"
    if not data.exists() or data.stat().st_size < block_bytes:
        data.write_bytes(os.urandom(max(64 << 20, block_bytes)))
    data.read_bytes()  # from the cache, not from the disk
    try:
        rate = _dd(data, target, block_bytes, 8)
        return _dd(data, target, block_bytes, max(8, int(rate * DD_SECONDS / block_bytes)))
    finally:
        target.unlink(missing_ok=True)


def _dd(data: Path, target: Path, block_bytes: int, count: int) -> float:
    """`data` may be shorter than all blocks together: it is then written again and again."""
    target.unlink(missing_ok=True)
    round_blocks = min(count, data.stat().st_size // block_bytes)
    written = 0
    begin = time.monotonic()
    while written < count:
        command = ["dd", f"if={data}", f"of={target}", f"bs={block_bytes}", f"count={round_blocks}"]
        command += ["oflag=dsync,append", "conv=notrunc", "status=none"]
        subprocess.run(command, check=True)
        written += round_blocks
    return written * block_bytes / (time.monotonic() - begin)


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and of its children that have ended (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(each) for each in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int, which: str) -> int:
    """VmRSS, or VmHWM for the most that it ever was (proc(5), status); 0 when it is not told."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) * 1024
    return 0
