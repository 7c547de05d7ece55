"""A report as text: HTML for people and paper, Markdown, JSON. All three show one structure (reports.build)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jinja2

from engine.model.errors import UsageError
from reports import strip, words
from reports.build import build

__all__ = ["FORMATS", "build", "render", "show"]

FORMATS = ("html", "md", "json")


def render(
    name: str,
    journal: Any,
    *,
    from_at: int,
    to_at: int,
    group: str | None = None,
    format: str = "html",
    now: int,
) -> str:
    """Report `name` over [from_at, to_at) of an open journal, microseconds, in one of FORMATS. Errors as of `build`."""
    if format not in FORMATS:
        raise UsageError(f"'{format}' is not a format of reports", hint=f"there is {', '.join(FORMATS)}")
    return show(build(name, journal, from_at=from_at, to_at=to_at, group=group, now=now), format)


def show(report: dict[str, Any], format: str) -> str:
    """The structure that `build` gave, in one of FORMATS."""
    if format == "json":
        return json.dumps(report, indent=2, ensure_ascii=True) + "\n"
    template = environment(html=format == "html").get_template(f"{report['report']}.{format}.j2")
    return template.render(report)


@cache
def environment(html: bool) -> jinja2.Environment:
    """Templates with the words of reports. HTML is escaped by itself; Markdown by the filter `cell`.

    A name that a template does not get is an error, never an empty place.
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (
        "printable",
        "cell",
        "moment",
        "span",
        "size",
        "number",
        "yes_no",
        "objective",
        "retention",
        "commit",
        "several",
        "measured",
        "unproven_for",
        "whereto",
    )
    made.filters.update({name: getattr(words, name) for name in filters})
    made.globals.update(
        VERDICTS=words.VERDICTS,
        STATES=words.STATES,
        PROOFS=words.PROOFS,
        WIDTH=strip.WIDTH,
        bands=strip.bands,
        ticks=strip.ticks,
    )
    return made
