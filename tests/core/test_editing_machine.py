"""The machine of `machine` with an app that replaces the conversation by another: what must hold whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from trealtime.items import InputText, SystemMessageItem, UserMessageItem

from .machine import Machine, times

pytestmark = pytest.mark.usefixtures("same_examples_everywhere")


class EditingMachine(Machine):
    """The app changes what was said."""

    def creates(self) -> list[Any]:
        """The app's own items that the server has not shown."""
        sent = (sent for _, sent in self.core._state.requests._each_open())
        return [each for each in sent if each.type == "conversation.item.create" and not each.own]

    # An item on its way is in no history yet, so that its place beside those of the new one is open.
    @precondition(lambda self: self.core.ready and not self.creates())
    @rule(
        keep=st.lists(st.booleans(), min_size=1, max_size=6),
        change=st.sampled_from(("nothing", "a summary", "new words", "the order")),
    )
    def the_history_is_replaced(self, keep: list[bool], change: str) -> None:
        items = [item for number, item in enumerate(self.core.history()) if keep[number % len(keep)]]
        text = InputText(text="in other words")
        mine = [at for at, item in enumerate(items) if item.item_id.startswith(("mine_", "told_"))]
        match change:
            case "a summary":
                items.insert(0, SystemMessageItem(item_id=f"told_{len(self.reply_ids)}", content=(text,)))
            case "new words" if mine:
                items[mine[-1]] = UserMessageItem(item_id=items[mine[-1]].item_id, content=(text,))
                self.images.discard(items[mine[-1]].item_id)
            case "the order" if mine:
                items.append(items.pop(mine[0]))
        self.owed &= {item.item_id for item in items}
        self.app.replace_history(items, reply_id=self.reply_id("replace"))
        assert [item.item_id for item in self.core.history()] == [item.item_id for item in items]


TestEditingMachine = EditingMachine.TestCase
TestEditingMachine.settings = times(25)
