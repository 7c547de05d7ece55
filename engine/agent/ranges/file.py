"""What is known of one file between two looks: spans that were written, that settle, that a mapping may store into.

All times are the caller's monotonic seconds; spans are (start, end) in bytes, rounded out to pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from mmap import PAGESIZE

from engine.agent.ranges.base import END, merged
from engine.agent.ranges.hot import dirty_seconds, dirty_spans

SETTLE_SECONDS = 30.0
"""How long what was traced before it happened may take to happen."""

COMPLETED_SECONDS = 1.0
HOT_SECONDS = 1.0
QUIET_SECONDS = 0.1
"""How long the fanotify event of a write may take before the trace alone is reason to look."""

_COMPACT_AT = 4096

Span = tuple[int, int]


@dataclass(slots=True)
class TracedFile:
    """A file with spans, or one that is being compared in full.

    fresh      written since the last look began
    taken      given to a look that has not said yet that it is done
    settling   (start, end, until when they stay in every look, and in one after that)
    flying     the same of direct writes that have not completed
    hot        dirty pages of a mapping
    mapped     processes have it mapped to store into: whatever is written is hot at once
    scan       it has been mapped since nobody knows when: so is what was written lately, and every dirty page
    recent     what looks took since the last pass over all processes ended, `older` since the one before that
    doubtful   records were lost since the last look began
    """

    fresh: list[Span] = field(default_factory=list)
    taken: list[Span] = field(default_factory=list)
    settling: list[tuple[int, int, float]] = field(default_factory=list)
    flying: list[tuple[int, int, float]] = field(default_factory=list)
    hot: list[Span] = field(default_factory=list)
    mapped: bool = False
    scan: bool = False
    recent: list[Span] = field(default_factory=list)
    older: list[Span] = field(default_factory=list)
    doubtful: bool = False
    removed_from: int = END
    _hot_at: float = 0.0
    _taken_at: float = 0.0
    _fresh_at: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether it need not be kept in mind."""
        mapped = self.hot or self.mapped or self.scan
        return not (self.fresh or self.taken or self.settling or self.flying or mapped or self.recent or self.older)

    def spans(self) -> list[Span]:
        """All of them, in order."""
        lasting = [(start, end) for start, end, _ in (*self.settling, *self.flying)]
        return merged([*self.taken, *self.fresh, *self.hot, *lasting])

    def take(self, fd: int, size: int, now: float) -> list[Span]:
        """What a look that begins now is to read; what comes up from now on is for the next one."""
        self.doubtful = False
        self._cool(fd, size, now)
        self.taken, self.fresh = self.spans(), []
        self.settling = [each for each in self.settling if each[2] > now]
        self.flying = [each for each in self.flying if each[2] > now]
        self._taken_at = now
        if self.taken:
            self.recent = merged([*self.recent, *self.taken])
        return self.taken

    def pass_over(self, mapped: bool) -> None:
        """A pass over all processes has ended, and found it mapped or not.

        Whoever mapped it since the pass before may have stored into anything that was dirty since then.
        """
        if mapped != self.mapped:
            self.mapped, self.scan = mapped, True
        else:
            self.older, self.recent = self.recent, []

    def due(self, now: float) -> bool:
        """Whether it is to be looked at though no event says so."""
        if self.fresh and now - self._fresh_at >= QUIET_SECONDS:
            return True
        if (self.hot or self.flying or self.scan) and now - self._taken_at >= HOT_SECONDS:
            return True
        return any(due <= now for _, _, due in self.settling)

    def note(self, start: int, end: int, now: float) -> None:
        """Bytes that were written."""
        fresh = self.fresh
        if not fresh:
            self._fresh_at = now
        start -= start % PAGESIZE
        end += -end % PAGESIZE
        if fresh and fresh[-1][0] <= start <= fresh[-1][1]:
            fresh[-1] = (fresh[-1][0], max(end, fresh[-1][1]))
            return
        fresh.append((start, end))
        if len(fresh) > _COMPACT_AT:
            self.fresh = merged(fresh)

    def settle(self, start: int, end: int, now: float, seconds: float = SETTLE_SECONDS) -> None:
        """Bytes that are being written, or will be in a moment."""
        self.note(start, end, now)
        self.settling = _with(self.settling, (start, end, now + seconds))

    def fly(self, start: int, end: int, now: float) -> None:
        """Bytes of a direct write that has begun."""
        self.note(start, end, now)
        self.flying = _with(self.flying, (start, end, now + SETTLE_SECONDS))

    def land(self, end: int, now: float) -> None:
        """A direct read or write up to `end` is over: one more look at it in a while, should it be another's."""
        for start, stop, _ in [each for each in self.flying if each[1] == end]:
            self.settle(start, stop, now, COMPLETED_SECONDS)
        self.flying = [each for each in self.flying if each[1] != end]

    def heat(self, start: int, end: int, now: float) -> None:
        """Bytes that a mapping made dirty."""
        self.note(start, end, now)
        self.hot = merged([*self.hot, (start, end)])
        self._hot_at = now

    def _cool(self, fd: int, size: int, now: float) -> None:
        """Before a look: what was hot and is clean now is looked at once more, and hot no longer."""
        if self.scan or self.mapped:
            self.hot = merged([*self.hot, *self.fresh])
            self._hot_at = now
        if self.scan:
            self.scan = False
            self.hot = merged([*self.hot, *self.recent, *self.older, *_dirty(fd, 0, size)])
        if not self.hot:
            return
        self.fresh += self.hot
        long_ago = now - self._hot_at >= dirty_seconds()
        self.hot = merged([span for hot in self.hot for span in _dirty(fd, *hot, unknown=not long_ago)])


def _dirty(fd: int, start: int, end: int, unknown: bool = True) -> list[Span]:
    """Where dirty pages are; `unknown`: everything, where the kernel doesn't tell."""
    found = dirty_spans(fd, start, end)
    return found if found is not None else [(start, end)] if unknown else []


def _with(lasting: list[tuple[int, int, float]], new: tuple[int, int, float]) -> list[tuple[int, int, float]]:
    lasting.append(new)
    if len(lasting) <= _COMPACT_AT:
        return lasting
    return [(*span, new[2]) for span in merged([each[:2] for each in lasting])]
