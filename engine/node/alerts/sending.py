"""Messages that wait to be sent: each tried on a thread of its own, again with back-off, and given up after a day.

One at a time goes to a target, in order; what comes meanwhile waits as one message. A target that stalls holds up
nobody else. Lives on one thread, the watch's; only the trying happens on others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from engine.env.clock import Clock
from engine.env.randomness import token_hex
from engine.model.times import DAY
from engine.node.alerts.delivery import NotDelivered
from engine.node.alerts.messages import Message
from engine.plan.alerts import Notice

DELIVERED, FAILED, GIVEN_UP = "delivered", "failed", "given-up"
AT_ONCE_MAX = 8
RETRY_SECONDS_FIRST, RETRY_SECONDS_MAX = 5.0, 900.0
GIVEN_UP_AFTER = DAY

Target = tuple[str, str, str]
"""(rule, type, to)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try; `why` in a line, empty if it was delivered."""

    message: Message
    outcome: str
    tries: int
    why: str = ""


@dataclass(slots=True)
class _Waiting:
    message: Message
    due: float
    tries: int = 0
    on_its_way: bool = False


class Sender:
    """`send` delivers one message or raises NotDelivered; it is called on other threads."""

    def __init__(self, send: Callable[[Message], None], clock: Clock) -> None:
        self._send, self._clock = send, clock
        self._waiting: dict[Target, deque[_Waiting]] = {}
        self._ended: deque[tuple[Target, str]] = deque()
        self.news = threading.Event()
        """Set when a try has ended: it is time for `outcomes`."""

    def take(self, messages: Iterable[Message]) -> None:
        """Go on with messages that waited when the node stopped."""
        for message in messages:
            self._queue(message).append(_Waiting(message, self._clock.monotonic()))

    def offer(self, rule: str, type: str, to: str, notices: Sequence[Notice], at: int) -> None:
        """Have notices sent to a target: with those that wait for it, if any do."""
        queue = self._waiting.setdefault((rule, type, to), deque())
        if queue and not queue[-1].on_its_way:
            queue[-1].message = queue[-1].message.with_more(notices)
            return
        message = Message(token_hex(8), rule, type, to, at, ()).with_more(notices)
        queue.append(_Waiting(message, self._clock.monotonic()))

    def keep_only(self, targets: Iterable[Target]) -> None:
        """Drop what waits for targets that no policy names any more."""
        kept = set(targets)
        for target, queue in self._waiting.items():
            if target not in kept:
                while queue and not queue[-1].on_its_way:
                    queue.pop()

    def messages(self) -> list[Message]:
        """All that is not delivered yet."""
        # Copies, which are made in one piece: others ask for this too.
        return [each.message for queue in list(self._waiting.values()) for each in list(queue)]

    def work(self) -> None:
        """Begin to send what is due."""
        now = self._clock.monotonic()
        on_their_way = sum(each.on_its_way for queue in self._waiting.values() for each in queue)
        for target, queue in self._waiting.items():
            if on_their_way >= AT_ONCE_MAX:
                return
            if queue and not queue[0].on_its_way and queue[0].due <= now:
                queue[0].on_its_way = True
                on_their_way += 1
                name = f"notify {target[0]}"
                threading.Thread(target=self._try, args=(target, queue[0].message), name=name, daemon=True).start()

    def outcomes(self) -> list[Outcome]:
        """What became of tries since the last call."""
        self.news.clear()
        found = []
        while self._ended:
            target, why = self._ended.popleft()
            found.append(self._settle(target, why))
        for target in [target for target, queue in self._waiting.items() if not queue]:
            del self._waiting[target]
        return found

    def _settle(self, target: Target, why: str) -> Outcome:
        queue = self._waiting[target]
        tried = queue.popleft()
        tried.tries += 1
        if not why:
            return Outcome(tried.message, DELIVERED, tried.tries)
        if self._clock.now() - tried.message.created_at >= GIVEN_UP_AFTER:
            return Outcome(tried.message, GIVEN_UP, tried.tries, why)
        retry_seconds = min(RETRY_SECONDS_FIRST * 2 ** (tried.tries - 1), RETRY_SECONDS_MAX)
        message = tried.message
        while queue:  # what came meanwhile goes along
            message = message.with_more(queue.popleft().message.notices)
        due = self._clock.monotonic() + retry_seconds
        queue.append(replace(tried, message=message, due=due, on_its_way=False))
        return Outcome(tried.message, FAILED, tried.tries, why)

    def _try(self, target: Target, message: Message) -> None:
        why = ""
        try:
            self._send(message)
        except NotDelivered as error:
            why = str(error) or "it failed"
        except Exception as error:  # a fault of ours must not lose the message
            why = f"a fault in the node: {type(error).__name__}"
        self._ended.append((target, why))
        self.news.set()

    def _queue(self, message: Message) -> deque[_Waiting]:
        return self._waiting.setdefault((message.rule, message.type, message.to), deque())
