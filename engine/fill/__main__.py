"""`python -m engine.fill --role supervisor --place DIR`: what bcsctl, apply and agents start."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from engine.fill.base import Place
from engine.fill.life.holder import hold
from engine.fill.life.service import DIED
from engine.fill.life.supervisor import supervise

if __name__ == "__main__":
    parser = argparse.ArgumentParser("supervisor")
    parser.add_argument("--role", required=True, choices=["supervisor", "holder"])
    parser.add_argument("--place", required=True, type=Path)
    parser.add_argument("--fd", type=int)
    parser.add_argument("--guard", default="")
    asked = parser.parse_args()
    if asked.role == "holder":
        sys.exit(hold(Place(asked.place), asked.fd, asked.guard))
    try:
        code = supervise(Place(asked.place), asked.fd, asked.guard)
    except Exception:
        traceback.print_exc()
        code = DIED
    sys.exit(code)
