"""`python -m engine.agent.restore.on_demand --role filler …`: the filler of trees whose journal is at a node."""

from __future__ import annotations

import os
import sys

from engine.agent.restore.on_demand.supply import NodeSupply
from engine.fill.life.process import main

if __name__ == "__main__":
    code = main(sys.argv[1:], NodeSupply)
    sys.stderr.flush()
    os._exit(code)
