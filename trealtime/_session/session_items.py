"""The part of a session about its items: the history, changes to it, and what another process needs to go on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from trealtime._core.conversation import Conversation
from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Summarise
from trealtime._core.replay import Entry, ReplayBounds, folded
from trealtime._core.saved_history import wire_items
from trealtime._session.config import RealtimeRunConfig
from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._session.outgoing import check_id, sendable_item, whole_number
from trealtime._session.pending_reply import Submitter
from trealtime._session.saved_session import dump_session, seed_items
from trealtime.items import InputText, RealtimeItem, SystemMessageItem
from trealtime.protocol.user_input import UserInput
from trealtime.tools.callables import answer_of

__all__ = ["SessionItems"]

_ASK: Final = (
    "Summarise this conversation for yourself, to go on with it later: who the user is and wants what, what was agreed "
    "and done, with every name, number and date, and what is open. Write plain text of at most 200 words."
)


class SessionItems:
    """A part of `RealtimeSession`."""

    _core: Conversation
    _driver: Driver
    _ids: IdSource
    _lifetime: Lifetime
    _run: RealtimeRunConfig
    _submit: Submitter

    async def _answer_aside(self, question: str, items: Sequence[Mapping[str, Any]]) -> str:
        """Ask the model about `items`, outside the conversation, and return what it writes."""
        raise NotImplementedError

    @property
    def history(self) -> list[RealtimeItem]:
        """The items of the conversation so far, in a new list."""
        return self._core.history()

    def history_of(self, item_ids: Collection[str]) -> tuple[RealtimeItem, ...]:
        """Return the items of history with these ids, in the order of history."""
        return tuple(item for item in self.history if item.item_id in item_ids)

    # ---- items ---------------------------------------------------------------------------------------------------

    async def create_item(self, item: UserInput, *, previous_item_id: str | None = None) -> str:
        """Add an item to the conversation without asking for an answer, wait for the server, and return its id.

        A str or `UserMessage` is a message of the user; a mapping may be an item of any type. It comes after the item
        `previous_item_id` (None: at the end, ``"root"``: first). If cancelled while it waits, the item may have been
        added. Raises `ServerRefused`.
        """
        wire = sendable_item(item, item_id=self._ids.new("item"))
        if previous_item_id is not None:
            check_id(previous_item_id, "previous_item_id")
        do, create_item = self._driver.do, self._core.create_item
        await self._submit.request(
            lambda reply_id: do(create_item, wire, previous_item_id=previous_item_id, reply_id=reply_id)
        )
        return str(wire["id"])

    async def delete_item(self, item_id: str) -> None:
        """Delete an item of the conversation and wait for the server. Raises `ServerRefused`."""
        check_id(item_id, "item_id")
        do, delete_item = self._driver.do, self._core.delete_item
        await self._submit.request(lambda reply_id: do(delete_item, item_id, reply_id=reply_id))

    async def truncate_item(self, item_id: str, *, content_index: int = 0, audio_end_ms: int) -> None:
        """Cut the audio of an item of the agent at `audio_end_ms` in the model's context, and wait for the server.
        Raises `ServerRefused`."""
        check_id(item_id, "item_id")
        content_index = whole_number(content_index, "content_index")
        audio_end_ms = whole_number(audio_end_ms, "audio_end_ms")
        do, truncate_item = self._driver.do, self._core.truncate_item
        await self._submit.request(
            lambda reply_id: do(truncate_item, item_id, content_index, audio_end_ms, reply_id=reply_id)
        )

    async def retrieve_item(self, item_id: str) -> RealtimeItem:
        """Wait for an item as the server has it, with its audio, and return it. Raises `ServerRefused`."""
        check_id(item_id, "item_id")
        do, retrieve_item = self._driver.do, self._core.retrieve_item
        item: RealtimeItem = await self._submit.request(lambda reply_id: do(retrieve_item, item_id, reply_id=reply_id))
        return item

    # ---- long calls ----------------------------------------------------------------------------------------------

    async def replace_history(self, history: str | bytes | Iterable[RealtimeItem]) -> None:
        """Let the conversation consist of these items alone: what the model knows, and `history`.

        `history` is what `dump_history` returned, or items. Items that are there already stay as they are; the others
        are deleted and created, all at once, and this waits for the server. What the agent said becomes text. If
        cancelled while it waits, the change may be made. Raises `SettingsError` for what is no history, and
        `ServerRefused`.
        """
        items = seed_items(history)
        do, replace = self._driver.do, self._core.replace_history
        await self._submit.request(lambda reply_id: do(replace, items, reply_id=reply_id))

    async def summarise(self, summarise: Summarise | None = None, *, keep_items: int = 20) -> str | None:
        """Replace the oldest turns by a summary, and return it; None: there was nothing to summarise.

        The last `keep_items` items stay, from the beginning of a turn on. `summarise` gets the others and returns their
        summary, a str or None (then they stay); without it that of the run config's ``reconnect`` is asked, and without
        that the model, outside the conversation. The summary becomes a message of the system in front. Raises what
        `summarise` raises, `ServerRefused` where the model makes none or only a part of one, and ValueError for a
        negative `keep_items`; then the history stays.
        """
        self._lifetime.check_open()
        keep_items = whole_number(keep_items, "keep_items")
        if keep_items < 0:
            raise ValueError(f"keep_items must be 0 or more, got {keep_items!r}")
        history = self._core.history()
        count = folded([Entry(item) for item in history], ReplayBounds(max_items=keep_items))
        oldest = history[:count]
        if not oldest:
            return None
        policy = self._core.reconnect_policy
        given = summarise if summarise is not None else None if policy is None else policy.summarise
        text = await self._answer_aside(_ASK, wire_items(oldest)) if given is None else await answer_of(given(oldest))
        if text is not None and not isinstance(text, str):
            raise TypeError(f"summarise must return a str or None, got {type(text).__name__}")
        if not text:
            return None
        summary = SystemMessageItem(
            item_id=self._ids.new("item"),
            content=(InputText(f"Summary of the conversation so far: {text}"),),
            status="completed",
        )
        gone = {item.item_id for item in oldest}
        await self.replace_history([summary, *(item for item in self._core.history() if item.item_id not in gone)])
        return text

    def export(self) -> str:
        """Return the session as JSON text, for ``runner.session(resume=...)`` in another process; at any time, after
        the end too.

        It has the history, the agent in charge by its name, the voice, usage and cost so far, and the decisions about
        approvals that hold for always. It has no keys, and no calls that are still running: let them end first. It
        holds what people said.
        """
        return dump_session(self._core)
