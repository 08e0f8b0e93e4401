"""The machine of `machine` with an app that edits the conversation: it begins with one from elsewhere, replaces it, and
has limits."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from trealtime.items import InputText, SystemMessageItem, UserMessageItem

from .machine import Machine, times

pytestmark = pytest.mark.usefixtures("same_examples_everywhere")


class EditingMachine(Machine):
    """The app changes what was said."""

    @precondition(lambda self: self.core.ready)
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
TestEditingMachine.settings = times(40)
