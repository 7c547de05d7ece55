"""One seed from beginning to end: lived, brought back, compared; what failed is told so that it can be lived again."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.embedded import Site
from tests.histories.check import Checked, check
from tests.histories.run import Plan, live

MEMORY = Path("/dev/shm")


def one(base: Path, plan: Plan, site: Site | None = None, points_max: int = 60, more: str = "") -> Checked:
    """Live a plan below `base`, which is left as it is, and check it.

    AssertionError with all that is wrong, the seed and how to replay it (`more` being arguments that the plan does not
    know), else what was checked.
    """
    try:
        lived = live(base, plan, site or Site(base / "home", plan.environment))
        (base / "lived.pickle").write_bytes(pickle.dumps((plan, lived)))
        with scratch(base) as restored:
            done = check(lived, plan, restored, points_max)
    except Exception as error:
        raise AssertionError(failed(base, plan, [f"{type(error).__name__}: {error}"], more)) from error
    if done.wrong:
        raise AssertionError(failed(base, plan, [*lived.troubles, *done.wrong], more))
    return done


def failed(base: Path, plan: Plan, wrong: list[str], more: str) -> str:
    """What to tell of a seed that failed."""
    told = "\n".join(["", *wrong, f"the tree, the journal and what was noted are in {base}"])
    return f'seed {plan.seed} failed: {len(wrong)} wrong; replay: make soak ARGS="{plan.arguments}{more}"{told}'


@contextmanager
def scratch(base: Path) -> Iterator[Path]:
    """A place to restore to: in memory where that keeps extended attributes, else below `base`."""
    inside = MEMORY if _keeps_attributes(MEMORY) else base
    path = Path(tempfile.mkdtemp(prefix="histories-", dir=inside))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _keeps_attributes(directory: Path) -> bool:
    try:
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            os.setxattr(file.name, "user.a", b"1")
    except OSError:
        return False
    return True
