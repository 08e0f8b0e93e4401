"""The part of a session about the user's input, and about decisions of the app's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from trealtime._core.conversation import Conversation
from trealtime._core.effects import ApprovalRequest
from trealtime._core.ids import IdSource
from trealtime._session.approval_handler import Reject
from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._session.outgoing import (
    MAX_PIECE,
    AudioData,
    audio_bytes,
    check_id,
    microphone_pieces,
    sendable_message,
)
from trealtime._session.pending_reply import Submitter
from trealtime.protocol.user_input import UserInput

__all__ = ["SessionInput"]


class SessionInput:
    """A part of `RealtimeSession`."""

    _core: Conversation
    _driver: Driver
    _ids: IdSource
    _lifetime: Lifetime
    _submit: Submitter

    # ---- input ---------------------------------------------------------------------------------------------------

    async def send_message(self, message: UserInput) -> None:
        """Send a message of the user (text, images, recorded speech) and ask for an answer.

        `message` is a str, a `UserMessage`, or a mapping such as ``{"type": "message", "role": "user", "content":
        [...]}``. The answer follows the response that is running; messages sent until then get one answer. Raises
        `SettingsError` naming every part that cannot be sent.
        """
        item = sendable_message(message, item_id=self._ids.new("item"))
        await self._submit.room()
        self._driver.do(self._core.create_item, item, said=True)
        self._driver.do(self._core.create_response, automatic=True)

    async def send_audio(self, audio: AudioData, *, commit: bool = False) -> None:
        """Send a piece of microphone audio: bytes in the input format, or an int16 array of PCM16 samples.

        `commit` ends the user's turn after it (for manual turns; then call `create_response`). Waits while more than
        `input_buffer_s` of audio are queued. If cancelled, the piece is queued whole or not at all. Raises
        `AudioFormatError` for PCM16 of odd length and for arrays of another type or shape.
        """
        # Hot: one call for each 20 ms of a microphone.
        data = audio_bytes(audio, self._core.input_format)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._lifetime.check_open()
        if not self._driver.send_queue.keeps_up:
            await self._submit.room(audio=True)
        self._queue_audio(data, commit=commit)

    def send_audio_nowait(self, audio: AudioData, *, commit: bool = False) -> bool:
        """Send a piece as `send_audio` does, without waiting. False: it was dropped because too much is queued."""
        data = audio_bytes(audio, self._core.input_format)
        self._lifetime.check_open()
        if not self._driver.send_queue.has_room(audio=True):
            self._driver.send_queue.refuse_audio()
            return False
        self._queue_audio(data, commit=commit)
        return True

    async def commit_audio(self) -> None:
        """End the user's turn (manual turns): the audio sent so far becomes an item. This asks for no answer."""
        await self._submit.send(self._core.commit_audio)

    async def clear_audio(self) -> None:
        """Drop the microphone audio that is not committed yet."""
        await self._submit.send(self._core.clear_audio)

    @contextmanager
    def user_speaking(self) -> Iterator[None]:
        """A scope in which the user speaks, for apps that know it: ``with session.user_speaking():``.

        With push to talk the server hears no speech begin and end, and an answer to the output of a tool would talk
        over the user. In this scope answers that the session asks for by itself wait; requests of the app's own go, and
        one without options answers what waits too. The scope interrupts nothing: call `interrupt` when it begins.
        Commit the audio inside. Scopes nest, in several tasks too.
        """
        self._lifetime.check_open()
        self._driver.do(self._core.begin_user_speaking)
        try:
            yield
        finally:
            if self._lifetime.state == "open":
                self._driver.do(self._core.end_user_speaking)

    # ---- stopping the agent --------------------------------------------------------------------------------------

    async def interrupt(self) -> None:
        """Stop the agent now: drop its queued audio, and send the server a cancel and the position that was heard.

        This happens before the call waits for anything, so cancelling it undoes nothing. With nothing to interrupt it
        does nothing.
        """
        await self._submit.now(self._core.interrupt)

    @contextmanager
    def uninterruptible(self) -> Iterator[None]:
        """A scope in which the user's speech does not interrupt the agent: ``with session.uninterruptible():``.

        The server gets this as a setting, and the old one again at the end; `update_settings` and handoffs inside keep
        it. Scopes nest, in several tasks too. Speech inside is a turn like any other, answered when the agent has
        ended; speech that goes on past the end of the last scope is judged then. `interrupt` and cancellation interrupt
        as always.
        """
        self._lifetime.check_open()
        self._driver.do(self._core.begin_uninterruptible)
        try:
            yield
        finally:
            if self._lifetime.state == "open":
                self._driver.do(self._core.end_uninterruptible)

    async def cancel_response(self, response_id: str | None = None) -> None:
        """Cancel one response and its audio as `interrupt` does: the one named, else the running one of the
        conversation."""
        if response_id is not None:
            check_id(response_id, "response_id")
        await self._submit.now(self._core.cancel_response, response_id)

    # ---- approvals -----------------------------------------------------------------------------------------------

    @property
    def pending_approvals(self) -> list[ApprovalRequest]:
        """The calls that wait for `approve_tool_call` or `reject_tool_call`, oldest first, in a new list."""
        return self._core.pending_approvals

    async def approve_tool_call(self, call_id: str, *, always: bool = False) -> bool:
        """Approve a call that waits for it. It runs the tool that the agent had when the call came.

        `always`: later calls of this tool in this session are approved without asking. This happens before the call
        waits for anything, so cancelling it undoes nothing. False: no such call waits, and nothing happens.
        """
        return await self._decide(call_id, approve=True, always=always)

    async def reject_tool_call(
        self, call_id: str, *, always: bool = False, rejection_message: str | None = None
    ) -> bool:
        """Reject a call that waits for approval. Its output is `rejection_message`, or with None the text of the run
        config's ``tool_error_formatter``. Otherwise as `approve_tool_call`."""
        message = Reject(rejection_message).message
        return await self._decide(call_id, approve=False, always=always, message=message)

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _decide(self, call_id: str, *, approve: bool, always: bool, message: str | None = None) -> bool:
        check_id(call_id, "call_id")
        pending = any(request.call_id == call_id for request in self.pending_approvals)
        decide = self._core.decide_approval
        await self._submit.now(decide, call_id, approve=approve, always=always, message=message)
        return pending

    def _queue_audio(self, data: bytes, *, commit: bool) -> None:
        if 0 < len(data) <= MAX_PIECE:
            self._driver.send_audio(data)
        else:
            for piece in microphone_pieces(data):
                self._driver.send_audio(piece)
        if commit:
            self._driver.do(self._core.commit_audio)
