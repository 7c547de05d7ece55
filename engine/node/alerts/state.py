"""What a watch must know after a restart, so that nothing is told twice and nothing is lost: in numbered control
objects, each written when something was told, sent or checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.journal import control
from engine.model.errors import BcsError, Refused
from engine.node.alerts.acts_told import Checked
from engine.node.alerts.messages import Message, message_from
from engine.node.log import WARNING, log
from engine.plan.alerts import Alert, Standing, standing_from
from engine.store.base import Store

NAME = "alerts"


@dataclass(frozen=True, slots=True)
class State:
    """`standing` and `sticky` by key: matters that stand; and of those the ones that an act began and an act ends.
    `waiting` are messages not delivered yet."""

    standing: Mapping[str, Standing] = field(default_factory=dict)
    sticky: Mapping[str, Alert] = field(default_factory=dict)
    waiting: tuple[Message, ...] = ()
    checked: Checked | None = None

    def essence(self) -> object:
        """What is worth writing anew when it changes: not the texts, which change with each look."""
        told = {(key, each.told_at) for key, each in self.standing.items() if each.told}
        waiting = {(each.id, len(each.notices), each.dropped) for each in self.waiting}
        return told, set(self.sticky), waiting, self.checked


def read_state(store: Store) -> tuple[State, int]:
    """(the state that was written last, its number); an empty one, said in the log, when it can't be read."""
    numbers = control.numbers(store, NAME)
    number = numbers[-1] if numbers else 0
    try:
        return (_state(control.read(store, NAME, number)) if number else State()), number
    except (BcsError, KeyError, TypeError, ValueError) as error:
        log(f"what was told before is forgotten: {error}", level=WARNING)
        return State(), number


def write_state(store: Store, state: State, base: int) -> int:
    """Write it after number `base`, or after whatever another node wrote meanwhile; its number."""
    value = {
        "standing": [each.as_json() for each in state.standing.values() if each.told or each.returns],
        "sticky": [asdict(alert) for alert in state.sticky.values()],
        "waiting": [message.as_json() for message in state.waiting],
        "checked": asdict(state.checked) if state.checked else None,
    }
    try:
        return control.follow(store, NAME, base, value)
    except Refused:
        numbers = control.numbers(store, NAME)
        return control.follow(store, NAME, numbers[-1] if numbers else 0, value)


def _state(value: Mapping[str, Any]) -> State:
    standing = [standing_from(each) for each in value["standing"]]
    sticky = [Alert(**each) for each in value["sticky"]]
    return State(
        {each.alert.key: each for each in standing},
        {alert.key: alert for alert in sticky},
        tuple(message_from(each) for each in value["waiting"]),
        Checked(**value["checked"]) if value["checked"] else None,
    )
