"""The driver: one input at a time, and its effects whole and in order."""

from __future__ import annotations

from typing import Any

from trealtime._core import effects as fx
from trealtime._session.driver import Driver
from trealtime._session.pending_reply import PendingReplies
from trealtime._session.send_queue import SendQueue
from trealtime._session.subscription import Subscription
from trealtime.audio.formats import PCM16_24K
from trealtime.events import EventInfo, RealtimeAudioInterrupted
from trealtime.tools.context import RunContext

INTERRUPTED = RealtimeAudioInterrupted(
    item_id="item_a", content_index=0, heard_ms=100, cause="app", info=EventInfo(RunContext({})), response_id="r1"
)


class Core:
    """A core that notes its inputs, and what the app has been told when each of them comes."""

    next_deadline = None
    raw_events = False
    input_format = output_format = PCM16_24K

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.inputs: list[tuple[str, int]] = []

    def interrupt(self, now: float) -> list[fx.Effect]:
        self.note("interrupt")
        return [fx.PurgeAudio("r1"), fx.Emit(INTERRUPTED), fx.Send({"type": "response.cancel"}, urgent=True)]

    def report_heard(self, now: float, heard_ms: float) -> list[fx.Effect]:
        self.note(f"heard {heard_ms:g}")
        return []

    def note(self, name: str) -> None:
        self.inputs.append((name, self.subscription.statistics().events_queued))


class Output:
    """An endpoint that plays: when it is purged it says at once what was heard."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.returned = False

    def purge(self, response_ids: object) -> None:
        self.driver.do(self.driver.core.report_heard, 100.0)
        self.driver.do(self.driver.core.report_heard, 120.0)
        self.returned = True


class Hooks:
    listening = False


async def test_what_a_part_reports_while_effects_are_carried_out_is_the_next_input() -> None:
    subscription = Subscription()
    core: Any = Core(subscription)
    driver = Driver(core, SendQueue(audio_bound_s=1, event_bound=10), PendingReplies(lambda: "reply"))
    driver.hooks = Hooks()  # type: ignore[assignment]
    driver.output = output = Output(driver)  # type: ignore[assignment]
    driver.add_subscription(subscription)
    driver.do(core.interrupt)
    assert output.returned
    # Both reports come after all effects of the interrupt, and before `do` returns.
    assert core.inputs == [("interrupt", 0), ("heard 100", 1), ("heard 120", 1)]
    assert driver.send_queue.statistics().events_queued == 1


async def test_a_subscription_that_closes_while_an_event_is_delivered_takes_no_other_ones_event() -> None:
    driver = Driver(Core(Subscription()), SendQueue(audio_bound_s=1, event_bound=10), PendingReplies(lambda: "r"))  # type: ignore[arg-type]
    driver.hooks = Hooks()  # type: ignore[assignment]
    first, second, third = (Subscription(on_close=driver.drop_subscription) for _ in range(3))
    for each in (first, second, third):
        driver.add_subscription(each)
    first.on_put = lambda _: first.close()
    driver.emit(INTERRUPTED)
    assert [each.statistics().events_queued for each in (second, third)] == [1, 1]
