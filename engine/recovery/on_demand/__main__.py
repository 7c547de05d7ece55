"""`python -m engine.recovery.on_demand --role filler …`: the filler of trees whose journal is on this machine."""

from __future__ import annotations

import os
import sys

from engine.fill.process import main
from engine.recovery.on_demand.supply import LocalSupply

if __name__ == "__main__":
    code = main(sys.argv[1:], LocalSupply)
    sys.stderr.flush()
    os._exit(code)  # threads of libraries need no farewell
