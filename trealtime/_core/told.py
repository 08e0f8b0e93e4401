"""The items of the history that a connection was told, and which of them its server has not taken.

Theory of operation
1. Each item is told after another one, or at the beginning (None). The server takes them in order.
2. The server may refuse an item. Those that were told after it are refused with it: each of these goes again, after the
   nearest one before it that is not refused for good. An item is refused for good once it was refused after one that
   the server has taken; where the server does not show that, an item goes no more than once for the same reason. A
   server that refuses for its own sake is asked a second time.
3. The server knows the conversation without the refused items. Where it names the item before a new one, those that we
   have told and it does not confirm, or has refused, come between the two. An item that the server makes itself goes to
   the end of what it knows. So what we have told after the item that it names has come later, and in between, also
   where it has been confirmed by the time at which we hear of the new item.
4. While an item goes again, the server has a conversation with a hole (`torn`). It takes events in order, so that its
   word about an item says that those which went before are there, or refused.
"""

from __future__ import annotations

from collections.abc import Container

import attrs

__all__ = ["ToldItems"]


@attrs.define(eq=False)
class ToldItems:
    """See the module's theory of operation."""

    _before: dict[str, str | None] = attrs.field(factory=dict, init=False)
    """By item, the one that it was told after."""

    _followers: dict[str | None, str] = attrs.field(factory=dict, init=False)
    """By item, the one that was told after it."""

    _unconfirmed: dict[str, None] = attrs.field(factory=dict, init=False)
    """In the order of telling."""

    _refused: dict[str, bool] = attrs.field(factory=dict, init=False)
    """Items that were refused; True: for the sake of the one before, so that they have gone again."""

    _again: dict[str, None] = attrs.field(factory=dict, init=False)
    """Items that have gone again and of which the server has said nothing since, in the order of telling."""

    _times: dict[str, int] = attrs.field(factory=dict, init=False)
    """How often each item was told."""

    _reasons: dict[tuple[str, str, int, bool], None] = attrs.field(factory=dict, init=False)
    """Why items have gone again: the item, the one before, how often that was told, and whether it is refused for
    good."""

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._before

    def __len__(self) -> int:
        return len(self._before)

    @property
    def untouched(self) -> bool:
        """Whether the server has said nothing yet about any of the items."""
        return not self._refused and len(self._unconfirmed) == len(self._before)

    def tell(self, item_id: str, previous_item_id: str | None) -> None:
        """An item leaves."""
        self._before[item_id] = previous_item_id
        self._followers[previous_item_id] = item_id
        self._unconfirmed[item_id] = None
        self._times[item_id] = self._times.get(item_id, 0) + 1

    def confirm(self, item_id: str) -> None:
        """The server has shown an item."""
        self._settle_until(item_id)
        self._unconfirmed.pop(item_id, None)
        self._refused.pop(item_id, None)

    def refuse(self, item_id: str, *, passing: bool = False) -> bool:
        """The server has not taken an item; return whether it goes again. `passing`: the item is not the reason."""
        self._unconfirmed.pop(item_id, None)
        self._settle_until(item_id)
        before = self._before[item_id]
        reason: tuple[str, str, int, bool] | None = None
        if before is not None and before in self._refused:
            reason = (item_id, before, self._times[before], self.refused(before))
        elif passing:
            reason = (item_id, "", 0, False)
        again = reason is not None and reason not in self._reasons
        if reason is not None:
            self._reasons[reason] = None
        self._refused[item_id] = again
        if again:
            self._again[item_id] = None
        return again

    def _settle_until(self, item_id: str) -> None:
        """The server has said something about an item that may have gone again."""
        if item_id in self._again:
            order = list(self._again)
            for each in order[: order.index(item_id) + 1]:
                del self._again[each]

    @property
    def torn(self) -> bool:
        """Whether items are on their way again without which the server has the conversation now."""
        return bool(self._again)

    def mend(self) -> None:
        """What is asked from now on comes after all that has gone again."""
        self._again.clear()

    def place_of(self, item_id: str) -> str | None:
        """The item to tell this one after: the nearest one before it that was not refused for good."""
        before = self._before[item_id]
        while before is not None and self.refused(before):
            before = self._before[before]
        return before

    def refused(self, item_id: str) -> bool:
        """Whether the server has refused this item for good."""
        return self._refused.get(item_id) is False

    def last_after(self, item_id: str | None, *, present: Container[str] = ()) -> str | None:
        """The last of the items that come between this one (None: the beginning) and another that the server tells of.
        `present`: those that do even if they are confirmed."""
        passed = {item_id}
        while (
            (follower := self._followers.get(item_id)) is not None
            and follower not in passed  # an item that was told elsewhere since is in both places
            and (follower in self._unconfirmed or self.refused(follower) or follower in present)
        ):
            item_id = follower
            passed.add(item_id)
        return item_id
