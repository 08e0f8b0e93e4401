"""History: the conversation's items as a graph, kept in the order that the server's `previous_item_id` gives.

Theory of operation
1. An item enters once and keeps its place. A known predecessor decides the place; without one it goes to the end.
2. An item whose predecessor has not come yet goes to the end, and moves when the predecessor comes. One whose
   predecessor has been removed goes there too, and stays.
3. Later sights of the item merge into it: an absent or empty field never erases a value, and a status never goes back.
4. A cut is final: a late transcript does not bring back what the user did not hear.
5. The output of a function call is shown with the call; its own item takes part in the order only.

6. Snapshots of items are values, made once per change of an item. The list of them is kept, and brought up to date
   when somebody asks: at the places of the items that have changed, and at its end. A new order makes it anew. So a
   snapshot of the history costs its changes and one copy of references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, Literal, cast

import attrs

from trealtime._core.ids import Recent
from trealtime._core.replay import Entry, heard_text
from trealtime._core.saved_history import stored_items
from trealtime._value import Shown
from trealtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    AssistantText,
    InputAudio,
    InputImage,
    InputText,
    ItemStatus,
    OtherItem,
    OtherItemType,
    RealtimeItem,
    RealtimeToolCallItem,
    SystemMessageItem,
    UserMessageItem,
)
from trealtime.protocol.lenient import as_text

__all__ = [
    "Change",
    "History",
    "heard_text",
    "read_items",
]


Change = Literal["added", "updated", "unchanged"]

_PART_TYPES: Final[Mapping[str, str]] = {"output_text": "text", "output_audio": "audio"}
"""Content types of the wire and of ``response.content_part`` under one name; the others are alike on both sides."""

_STATUSES: Final = ("in_progress", "completed", "incomplete")


def read_items(items: Iterable[Mapping[str, Any]]) -> tuple[RealtimeItem, ...]:
    """Read items of the wire that are in no history, in their order, with outputs folded into their calls."""
    history = History()
    for item in items:
        if isinstance(item.get("id"), str):
            history.put(item, status="completed")
    return tuple(history.snapshot())


@attrs.define(eq=False, repr=False)
class _Part(Shown):
    type: str
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None
    image_url: str | None = None
    detail: str | None = None
    heard_ms: int | None = None
    """Set when the part has been cut; its transcript is final then."""

    whole: bool = False
    """The server has shown its text at its end: a delta that comes later is in it."""


@attrs.define(eq=False, repr=False)
class _Node(Shown):
    item_id: str
    data: Mapping[str, Any]
    previous_item_id: str | None = None
    named: str | None = None
    """The item before it as the server has named it."""

    type: str = "message"
    role: str | None = None
    status: ItemStatus | None = None
    parts: list[_Part] = attrs.Factory(list)
    output: str | None = None
    hidden: bool = False
    seen: RealtimeItem | None = None
    """The snapshot, until something changes."""

    place: int = 0
    """Where the snapshot is in the list of them, if it is there."""


@attrs.define(eq=False, repr=False)
class History(Shown):
    """See the module's theory of operation."""

    _nodes: dict[str, _Node] = attrs.field(factory=dict, init=False)
    _order: list[str] = attrs.field(factory=list, init=False)
    _calls: dict[str, str] = attrs.field(factory=dict, init=False)
    """call_id to the item id of the function call."""

    _outputs: dict[str, str] = attrs.field(factory=dict, init=False)
    """call_id to the item id of the output."""

    _waiting: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    """An item that has not come yet to the items that follow it."""

    _removed: Recent[str, None] = attrs.field(factory=partial(Recent, 256), init=False)
    """Items that are no more: those that follow them wait for nothing."""

    _early_transcripts: Recent[str, str] = attrs.field(factory=partial(Recent, 32), init=False)
    """Transcription deltas that came before their item."""

    _shown: list[RealtimeItem] = attrs.field(factory=list, init=False)
    """Snapshots of the visible items in order, but for those in `_stale`."""

    _covered: int = attrs.field(default=0, init=False)
    """`_shown` has so many items of `_order`, the hidden ones counted."""

    _stale: dict[str, _Node] = attrs.field(factory=dict, init=False)
    """Items that have changed since they were shown."""

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and item_id in self._nodes  # servers send ids of other types, too

    def __len__(self) -> int:
        return len(self._order)

    def snapshot(self) -> list[RealtimeItem]:
        """The visible items in order, in a list of the caller's own."""
        shown, order, nodes = self._shown, self._order, self._nodes
        for item_id, node in self._stale.items():
            if node.place < len(shown) and shown[node.place].item_id == item_id:
                shown[node.place] = self._show(node)
        self._stale.clear()
        if self._covered < len(order):
            for item_id in order[self._covered :]:
                node = nodes[item_id]
                if not node.hidden:
                    node.place = len(shown)
                    shown.append(node.seen or self._show(node))
            self._covered = len(order)
        return shown.copy()

    def order(self) -> list[str]:
        """Ids of all items in order, those included that `snapshot` folds into their function call."""
        return list(self._order)

    def item(self, item_id: str) -> RealtimeItem:
        """One item; KeyError if it is not there."""
        return self._show(self._nodes[item_id])

    def visible(self, item_id: str) -> bool:
        """Whether `snapshot` shows this item by itself."""
        node = self._nodes.get(item_id)
        return node is not None and not node.hidden

    def entries(self) -> list[Entry]:
        """The visible items in order, each call with the id of its output's item."""
        visible = (node for item_id in self._order if not (node := self._nodes[item_id]).hidden)
        return [Entry(self._show(node), self._output_id(node)) for node in visible]

    def _output_id(self, node: _Node) -> str | None:
        call_id = node.data.get("call_id")
        return self._outputs.get(call_id) if node.type == "function_call" and isinstance(call_id, str) else None

    def audio_parts(self, item_id: str) -> list[int]:
        """Content indexes of the agent's audio in an item."""
        node = self._nodes.get(item_id)
        return [index for index, part in enumerate(node.parts) if part.type == "audio"] if node is not None else []

    def seed(self, items: Iterable[RealtimeItem], new_id: Callable[[], str]) -> None:
        """Begin with these items, in their order. `new_id` makes ids for the outputs of calls."""
        for item in items:
            for wire_item in stored_items(item, new_id):
                if wire_item["type"] == "message" and wire_item["status"] == "in_progress":
                    wire_item["status"] = "incomplete"  # the response that was making it is over
                self.put(wire_item)
            if isinstance(item, AssistantMessageItem):
                for index, part in enumerate(item.content):
                    if isinstance(part, AssistantAudio) and part.heard_ms is not None:
                        self._nodes[item.item_id].parts[index].heard_ms = part.heard_ms

    # ---- the server's items ----------------------------------------------------------------------------------------

    def put(
        self,
        item: Mapping[str, Any],
        *,
        previous_item_id: str | None = None,
        named: str | None = None,
        first: bool = False,
        status: ItemStatus | None = None,
    ) -> Change:
        """An item as the server shows it. `status` stands in where the item has none; `first` puts it at the start.

        `named` is the item before it in the server's own words: a later sight that names the same one does not move it,
        because it may be older than what has come between the two since.
        """
        item_id = item.get("id")
        if not isinstance(item_id, str) or not item_id:
            return "unchanged"
        if previous_item_id == item_id:  # nonsense; the place that it has or gets at the end is as good as any
            previous_item_id = None
        node = self._nodes.get(item_id)
        if node is None:
            node = self._nodes[item_id] = _Node(item_id, {}, named=named)
            self._removed.discard(item_id)
            self._place(node, previous_item_id, first=first)
            self._merge(node, item, status)
            self._settle_waiting(node)
            return "added"
        before = self._show(node)
        moved = (named is None or named != node.named) and self._move(node, previous_item_id)
        node.named = node.named if named is None else named
        self._merge(node, item, status)
        return "updated" if moved or self._show(node) != before else "unchanged"

    def remove(self, item_id: str) -> bool:
        """The server has deleted an item; return whether it was there."""
        self._early_transcripts.pop(item_id, None)
        node = self._nodes.pop(item_id, None)
        if node is None:
            return False
        self._stale.pop(item_id, None)
        self._ordered_from(index := self._order.index(item_id))
        del self._order[index]
        self._removed[item_id] = None
        self._stop_waiting(node)
        call_id = node.data.get("call_id")
        if node.type == "function_call" and isinstance(call_id, str):
            self._calls.pop(call_id, None)
            if (output := self._nodes.get(self._outputs.get(call_id, ""))) is not None:
                output.hidden = False
                self._ordered_from(0)
        elif node.type == "function_call_output" and isinstance(call_id, str):
            self._outputs.pop(call_id, None)
            if (call := self._nodes.get(self._calls.get(call_id, ""))) is not None:
                call.output = None
                self._changed(call)
        return True

    def finish(self, item_id: str, status: ItemStatus) -> bool:
        """The response of this item is over; return whether that changed the item."""
        node = self._nodes.get(item_id)
        if node is None or node.status in ("completed", "incomplete"):
            return False
        node.status = status
        self._changed(node)
        return True

    # ---- text that grows -------------------------------------------------------------------------------------------

    def add_text(self, item_id: str, content_index: int, delta: str) -> None:
        """A piece of text that the agent writes."""
        if (part := self._part(item_id, content_index, "text")) is not None and not part.whole:
            part.text = (part.text or "") + delta

    def add_transcript(self, item_id: str, content_index: int, delta: str) -> None:
        """A piece of the agent's speech, as text. After a cut it is dropped."""
        part = self._part(item_id, content_index, "audio")
        if part is not None and part.heard_ms is None and not part.whole:
            part.transcript = (part.transcript or "") + delta

    def put_part(self, item_id: str, content_index: int, part: Mapping[str, Any]) -> None:
        """A content part as the server shows it at its end; its text replaces the deltas."""
        node = self._nodes.get(item_id)
        if node is not None and 0 <= content_index <= len(node.parts):
            self._changed(node)
            self._merge_part(node, content_index, part)
            node.parts[content_index].whole = True

    def complete(self, item: Mapping[str, Any]) -> None:
        """An item as the server shows it at its end: a piece of its words that comes later is in them."""
        content = item.get("content")
        for index, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, Mapping) and (part.get("text") or part.get("transcript")):
                self.put_part(str(item.get("id")), index, part)

    def add_user_transcript(self, item_id: str, content_index: int, delta: str) -> None:
        """A piece of the user's speech, as text; kept aside until the item comes."""
        part = self._part(item_id, content_index, "input_audio")
        if part is not None:
            part.transcript = (part.transcript or "") + ("" if part.whole else delta)
        else:
            self._early_transcripts[item_id] = self._early_transcripts.get(item_id, "") + delta

    def placed(self, item_id: str) -> bool:
        """Whether the server has named the item before this one."""
        node = self._nodes.get(item_id)
        return node is not None and node.named is not None

    def set_user_transcript(self, item_id: str, content_index: int, transcript: str) -> Change:
        """The final transcript of the user's speech. An unknown item is added, so that its words are not lost."""
        self._early_transcripts.pop(item_id, None)
        if item_id not in self._nodes:
            content = [{"type": "input_audio", "transcript": transcript}]
            item = {"id": item_id, "type": "message", "role": "user", "content": content}
            change = self.put(item, status="completed")
            if change == "added":  # not where the server names no item
                self._nodes[item_id].parts[0].whole = True
            return change
        part = self._part(item_id, content_index, "input_audio")
        if part is None:
            return "unchanged"
        part.transcript, part.whole = transcript, True
        self._nodes[item_id].status = "completed"
        return "updated"

    def cut(self, item_id: str, content_index: int, heard_ms: int, received_ms: float | None) -> bool:
        """The user heard this part up to `heard_ms`: trim its transcript; return whether the item is known."""
        node = self._nodes.get(item_id)
        if node is None or node.role != "assistant":
            return False
        part = self._part(item_id, content_index, "audio")
        if part is None or (part.heard_ms is not None and part.heard_ms <= heard_ms):
            return False
        if part.transcript and received_ms is not None:
            part.transcript = heard_text(part.transcript, heard_ms, received_ms)
        elif received_ms is None and heard_ms == 0:
            part.transcript = ""
        part.transcript = part.transcript or ""
        part.heard_ms = heard_ms
        node.status = "incomplete"
        self._changed(node)
        return True

    def shorten(self, item_id: str, content_index: int, transcript: str) -> None:
        """No more audio of this part will come, and its transcript has run ahead of it: these are its words."""
        node = self._nodes[item_id]
        node.parts[content_index].transcript = transcript
        self._changed(node)

    # ---- order -----------------------------------------------------------------------------------------------------

    def _place(self, node: _Node, previous_item_id: str | None, *, first: bool) -> None:
        node.previous_item_id = previous_item_id
        order = self._order
        if first or previous_item_id == "root":
            self._ordered_from(0)
            order.insert(0, node.item_id)
        elif previous_item_id is None or previous_item_id in self._removed or (order and order[-1] == previous_item_id):
            order.append(node.item_id)
        elif previous_item_id in self._nodes:
            self._ordered_from(index := order.index(previous_item_id) + 1)
            order.insert(index, node.item_id)
        else:
            self._waiting.setdefault(previous_item_id, []).append(node.item_id)
            order.append(node.item_id)

    def _move(self, node: _Node, previous_item_id: str | None) -> bool:
        """A later sight names the predecessor: put the item there unless it is there already."""
        if previous_item_id in (None, node.previous_item_id) or previous_item_id in self._removed:
            return False
        self._stop_waiting(node)
        node.previous_item_id = previous_item_id
        self._changed(node)
        if previous_item_id in self._nodes:
            self._follow(node, previous_item_id)
        else:
            self._waiting.setdefault(previous_item_id, []).append(node.item_id)
        return True

    def _settle_waiting(self, node: _Node) -> None:
        """Items that came before their predecessor `node` follow it now."""
        for item_id in reversed(self._waiting.pop(node.item_id, [])):
            self._follow(self._nodes[item_id], node.item_id)

    def _stop_waiting(self, node: _Node) -> None:
        previous = node.previous_item_id or ""
        if node.item_id in (waiting := self._waiting.get(previous, [])):
            waiting.remove(node.item_id)
            if not waiting:
                del self._waiting[previous]

    def _follow(self, node: _Node, previous_item_id: str) -> None:
        """Put an item behind its predecessor, with those that follow it."""
        order = self._order
        begin = order.index(node.item_id)
        end = begin + 1
        while end < len(order) and self._nodes[order[end]].previous_item_id == order[end - 1]:
            end += 1
        run = order[begin:end]
        if previous_item_id in run:  # the server's links form a circle: leave them as they came
            return
        del order[begin:end]
        position = order.index(previous_item_id) + 1
        self._ordered_from(min(begin, position))
        order[position:position] = run

    def _ordered_from(self, index: int) -> None:
        """The order changes from `index` on, or what is visible there."""
        if index < self._covered:
            self._covered = 0
            self._shown.clear()

    # ---- merging ---------------------------------------------------------------------------------------------------

    def _merge(self, node: _Node, item: Mapping[str, Any], status: ItemStatus | None) -> None:
        self._changed(node)
        node.type = item["type"] if isinstance(item.get("type"), str) else node.type
        role = as_text(item.get("role")) or node.role
        if node.role is not None and role != node.role:
            node.parts = []  # another message under the same id: nothing of the old one applies
        node.role = role
        keep = {key: value for key, value in item.items() if value is not None}
        if node.type == "message":
            keep.pop("content", None)  # lives in the parts; retrieved audio is large
        node.data = {**node.data, **keep}
        given = item.get("status")
        new_status = cast("ItemStatus", given) if given in _STATUSES else status
        goes_back = new_status == "in_progress" and node.status is not None
        cut = any(part.heard_ms is not None for part in node.parts)
        if new_status is not None and not goes_back and not cut:
            node.status = new_status
        content = item.get("content")
        if isinstance(content, Sequence) and not isinstance(content, str):
            parts = [part for part in content if isinstance(part, Mapping)]
            for index, part in zip(self._places(node, parts), parts, strict=False):
                self._merge_part(node, index, part)
        early = self._early_transcripts.pop(node.item_id, None)
        if early is not None and (target := self._part(node.item_id, 0, "input_audio")) is not None:
            target.transcript = target.transcript or early
        call_id = node.data.get("call_id")
        if isinstance(call_id, str):
            self._link_call(node, call_id)

    @staticmethod
    def _places(node: _Node, parts: list[Mapping[str, Any]]) -> Iterator[int]:
        """The indexes of these parts in the item. Servers echo an item without its images: then our images keep their
        places."""
        passed_over = (
            []
            if any(part.get("type") == "input_image" for part in parts)
            else [index for index, part in enumerate(node.parts) if part.type == "input_image"]
        )
        return (index for index in count() if index not in passed_over)

    def _merge_part(self, node: _Node, index: int, incoming: Mapping[str, Any]) -> None:
        kind = _PART_TYPES.get(str(incoming.get("type")), str(incoming.get("type")))
        part = self._grow(node, index, kind)
        if isinstance(text := incoming.get("text"), str) and (text or kind == "text"):
            part.text = text
        if isinstance(transcript := incoming.get("transcript"), str) and transcript and part.heard_ms is None:
            part.transcript = transcript
        for name in ("audio", "image_url", "detail"):
            if isinstance(value := incoming.get(name), str) and value:
                setattr(part, name, value)

    def _link_call(self, node: _Node, call_id: str) -> None:
        if node.type == "function_call":
            self._calls[call_id] = node.item_id
        elif node.type == "function_call_output":
            self._outputs[call_id] = node.item_id
        call = self._nodes.get(self._calls.get(call_id, ""))
        output = self._nodes.get(self._outputs.get(call_id, ""))
        if call is not None and output is not None:
            self._fold_output(call, output)

    def _fold_output(self, call: _Node, output: _Node) -> None:
        text = output.data.get("output")
        call.output = text if isinstance(text, str) else ""
        self._changed(call)
        if not output.hidden:
            last = len(self._order) - 1
            self._ordered_from(last if self._order[last] == output.item_id else 0)
            output.hidden = True

    def _part(self, item_id: str, content_index: int, kind: str) -> _Part | None:
        """The part of an item that a delta belongs to; None if the item is unknown or the index makes no sense."""
        node = self._nodes.get(item_id)
        if node is None or not 0 <= content_index <= len(node.parts) + 16:
            return None
        self._changed(node)
        return self._grow(node, content_index, kind)

    @staticmethod
    def _grow(node: _Node, index: int, kind: str) -> _Part:
        while len(node.parts) <= index:
            node.parts.append(_Part(kind))
        part = node.parts[index]
        if part.type != kind and part.text is None and part.transcript is None and part.image_url is None:
            part.type = kind
        return part

    # ---- showing ---------------------------------------------------------------------------------------------------

    def _changed(self, node: _Node) -> None:
        if node.seen is not None:
            node.seen = None
            self._stale[node.item_id] = node

    @staticmethod
    def _show(node: _Node) -> RealtimeItem:
        if node.seen is None:
            node.seen = _show(node)
        return node.seen


def _show(node: _Node) -> RealtimeItem:
    if node.type == "function_call":
        done: ItemStatus = "completed" if node.output is not None else "in_progress"
        return RealtimeToolCallItem(
            item_id=node.item_id,
            previous_item_id=node.previous_item_id,
            call_id=as_text(node.data.get("call_id")),
            name=as_text(node.data.get("name")) or "",
            arguments=as_text(node.data.get("arguments")) or "",
            output=node.output,
            status="incomplete" if node.status == "incomplete" and node.output is None else done,
        )
    if node.type == "message" and node.role == "system":
        return SystemMessageItem(
            item_id=node.item_id,
            previous_item_id=node.previous_item_id,
            content=tuple(InputText(part.text) for part in node.parts if part.type == "input_text"),
            status=node.status,
        )
    if node.type == "message" and node.role == "user":
        return UserMessageItem(
            item_id=node.item_id,
            previous_item_id=node.previous_item_id,
            content=tuple(_USER_PARTS[part.type](part) for part in node.parts if part.type in _USER_PARTS),
            status=node.status,
        )
    if node.type == "message" and node.role == "assistant":
        return AssistantMessageItem(
            item_id=node.item_id,
            previous_item_id=node.previous_item_id,
            content=tuple(
                AssistantText(part.text)
                if part.type == "text"
                else AssistantAudio(part.audio, part.transcript, part.heard_ms)
                for part in node.parts
                if part.type in ("text", "audio")
            ),
            status=node.status,
        )
    return OtherItem(
        item_id=node.item_id,
        previous_item_id=node.previous_item_id,
        type=cast("OtherItemType", node.type),
        status=node.status,
        data=dict(node.data),
    )


_USER_PARTS: Final[Mapping[str, Callable[[_Part], InputText | InputAudio | InputImage]]] = {
    "input_text": lambda part: InputText(part.text),
    "input_audio": lambda part: InputAudio(part.audio, part.transcript),
    "input_image": lambda part: InputImage(part.image_url, part.detail),
}
