"""`python -m bcsctl` is `bcsctl`."""

from __future__ import annotations

from bcsctl.app import main

if __name__ == "__main__":
    main()
