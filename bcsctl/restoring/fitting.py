"""Which options of `bcsctl restore` go with which way of restoring: none that says nothing there is ignored."""

from __future__ import annotations

from collections.abc import Collection

from engine.model.errors import UsageError

IN_PLACE, SCRATCH, HOST_SCRATCH, STREAM, ON_DEMAND, AFAR, HERE = (
    "--in-place",
    "--to scratch",
    "--to HOST:scratch",
    "--to -",
    "--on-demand",
    "another host, or from a site",
    "--to DIR on this machine",
)
"""The ways, as messages call them."""

NAME = "scratch"
"""As the directory: a place of its own."""

_FITS = {
    "--exact": (IN_PLACE,),
    "--verify": (HERE, AFAR, SCRATCH, HOST_SCRATCH, IN_PLACE),
    "--overwrite": (HERE, AFAR),
    "--aside": (HERE, AFAR),
    "--owners": (HERE, AFAR, SCRATCH, HOST_SCRATCH, STREAM),
    "--partial": (HERE, AFAR, SCRATCH, HOST_SCRATCH, STREAM, ON_DEMAND, IN_PLACE),
    "--into-protected": (HERE, AFAR, ON_DEMAND),
    "--on-demand": (ON_DEMAND,),
    "--scratch": (SCRATCH, HOST_SCRATCH),
    "--check": (SCRATCH,),
    "--check-timeout": (SCRATCH,),
    "--may-write": (SCRATCH,),
}
BY_HAND = "look at the tree there as root, run what you like, then `bcsctl restore check ID` compares its bytes"
_FILLING = ("--mechanism", "--rate")
_CHECKING = ("--check-timeout", "--may-write")


def way_of(target: str | None, in_place: bool, on_demand: bool, afar: bool) -> str:
    """The way that was asked for. UsageError when it was not said, or two were."""
    if target is not None and in_place:
        raise UsageError("--to and --in-place exclude each other", hint="--in-place goes where it came from")
    if in_place:
        return IN_PLACE
    if target is None:
        raise UsageError(
            "it is not said where to restore to",
            hint="say --to DIR, --to HOST:DIR, --to - or --to scratch; or --in-place, where it came from",
        )
    host, _, place = target.rpartition(":")
    if place == NAME and host in ("", "localhost"):
        return SCRATCH
    if place == NAME and not on_demand:
        return HOST_SCRATCH
    if target == "-":
        return STREAM
    return ON_DEMAND if on_demand else AFAR if afar else HERE


def refuse_misfits(way: str, given: Collection[str], *, one: bool) -> None:
    """UsageError for the first of the options `given` that says nothing of this way; `one`: of one source alone."""
    for option in given:
        fits = _FITS.get(option, (way,))
        if way == HOST_SCRATCH and option in (*_CHECKING, "--check"):
            raise UsageError(f"{option} is not for {way}: no command is run on a host over the network", hint=BY_HAND)
        if way not in fits:
            raise UsageError(f"{option} is not for {way}", hint=f"leave it out; it goes with: {'; '.join(fits)}")
    _refuse_alone(given, ("--aside",), "--overwrite")
    _refuse_alone(given, _FILLING, "--on-demand")
    _refuse_alone(given, _CHECKING, "--check")
    if one and "--partial" in given:
        raise UsageError("--partial is for several sources, and this is one", hint="leave it out")


def _refuse_alone(given: Collection[str], options: Collection[str], needed: str) -> None:
    alone = [option for option in options if option in given]
    if alone and needed not in given:
        raise UsageError(f"{alone[0]} says nothing without {needed}", hint=f"say {needed} with it, or leave it out")
