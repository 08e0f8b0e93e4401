"""Values print as one short line: no audio, no long text, no address in memory."""

from __future__ import annotations

import base64
from typing import Any, get_args

import attrs
import pytest
import trio

from trealtime import events, items
from trealtime._session.listening import SpokenTurn
from trealtime._session.response import Turn
from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import realtime_handoff
from trealtime.audio.formats import G711_ULAW
from trealtime.calls import RealtimeRestClient
from trealtime.emulator import ChatBrain, open_emulator
from trealtime.endpoints.wav import WavEndpoint
from trealtime.errors import ToolFailed
from trealtime.events import EventInfo
from trealtime.metrics import TurnMetrics
from trealtime.recording import RecordingModel
from trealtime.testing import MemoryEndpoint
from trealtime.tools.function_tool import function_tool
from trealtime.transport.models import OpenAIRealtimeModel
from trealtime.usage import Usage

LONG = "Grandma's words, all of them, and then once more from the start. " * 50
PCM = bytes(range(256)) * 500
PCM_TEXT = base64.b64encode(PCM).decode()
INFO = EventInfo(None)
PARTS = (items.InputText, items.InputAudio, items.InputImage, items.AssistantText, items.AssistantAudio)


@function_tool
async def look(key: int) -> str:
    """Look it up."""
    return ""


AGENT = RealtimeAgent(name="Desk", instructions=LONG, tools=[look])
MESSAGE = items.AssistantMessageItem(
    item_id="item_a", content=(items.AssistantAudio(audio=PCM_TEXT, transcript=LONG),), status="completed"
)
SAMPLES: dict[str, Any] = {
    "info": INFO,
    "agent": AGENT,
    "from_agent": AGENT,
    "to_agent": AGENT,
    "tool": look,
    "item": MESSAGE,
    "history": [MESSAGE] * 40,
    "content": (items.InputAudio(audio=PCM_TEXT, transcript=LONG), items.InputText(LONG)),
    "audio": PCM_TEXT,
    "image_url": f"data:image/png;base64,{PCM_TEXT}",
    "data": {"type": "input_audio", "audio": PCM_TEXT},
    "error": ToolFailed(LONG, tool_name="look", call_id="call_1"),
    "output": LONG,
    "note": PCM,
    "guardrail_results": (object(),) * 9,
    "metrics": TurnMetrics(turn_id="t", number=1, source="speech", agent="Desk", status="completed"),
    "content_index": 0,
}


def made(kind: Any) -> Any:
    """A value of an attrs class with as much in it as there can be."""
    fields = attrs.fields(kind)
    given = {}
    for field in fields:
        if field.name == "type" or not field.init:
            continue
        if kind is events.RealtimeAudio and field.name == "audio":
            value: Any = events.AudioChunk(PCM, "resp_1", "item_a", 0)
        elif kind is events.AudioChunk and field.name == "data":
            value = PCM
        else:
            value = SAMPLES.get(field.name, LONG)
        given[field.name.removeprefix("_")] = value
    return kind(**given)


KINDS = [
    *get_args(events.RealtimeSessionEvent),
    events.AudioChunk,
    events.ServerErrorInfo,
    *get_args(items.RealtimeItem),
    *PARTS,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_events_items_and_parts_are_one_short_line(kind: Any) -> None:
    shown = repr(made(kind))
    assert shown.startswith(f"{kind.__name__}(")
    assert "\n" not in shown
    assert len(shown) < 60 + 100 * len(attrs.fields(kind))
    assert LONG[:120] not in shown
    assert PCM_TEXT[:20] not in shown
    assert repr(PCM)[2:20] not in shown
    assert " at 0x" not in shown
    assert "RunContext" not in shown


async def test_the_audio_of_an_event_is_shown_in_seconds_of_its_format(autojump_clock, service) -> None:
    async with RealtimeRunner(AGENT, model=service).session() as session, session.subscribe("audio") as audio:
        await session.send_message("Hello.")
        await service.last.reply(seconds=0.2)
        event = await audio.receive()
        expected = "RealtimeAudio(item_id='item_resp_1', content_index=0, 0.2 s of pcm16 at 0 ms)"
        assert repr(event) == expected
        assert repr(event.audio).startswith("AudioChunk(data=<9,600 bytes>, ")


@pytest.mark.parametrize(
    "turn, shown",
    [
        (
            Turn(text="Hello there.", audio=bytes(129_600), items=(), usage=Usage(total_tokens=15), status="completed"),
            "Turn('Hello there.', 2.7 s of pcm16, completed, 15 tokens)",
        ),
        (
            Turn(
                text=LONG,
                audio=bytes(800),
                items=(MESSAGE,),
                usage=None,
                status="failed",
                reason="overloaded",
                errors=(ToolFailed("no", tool_name="x", call_id="y"),),
                audio_format=G711_ULAW,
            ),
            f"Turn({LONG[:57] + '...'!r}, 0.1 s of g711_ulaw, failed, overloaded, errors=(ToolFailed('no'),))",
        ),
        (
            SpokenTurn(text="Hi.", audio=b"", items=(), usage=None, status="cancelled", said="Good day."),
            "SpokenTurn(said='Good day.', 'Hi.', 0.0 s of pcm16, cancelled)",
        ),
    ],
    ids=["short", "long", "spoken"],
)
def test_a_turn(turn: Turn, shown: str) -> None:
    assert repr(turn) == shown


def test_agents_tools_and_handoffs_show_names_even_in_a_circle() -> None:
    other = RealtimeAgent(name="Other", tools=[look])
    first = RealtimeAgent(
        name="First", instructions=LONG, handoffs=[other, realtime_handoff(other, tool_name_override="go")]
    )
    assert repr(first) == (f"RealtimeAgent(name='First', instructions={LONG[:57] + '...'!r}, handoffs=('Other', 'go'))")
    assert repr(other) == "RealtimeAgent(name='Other', tools=('look',))"
    assert repr(look).startswith("FunctionTool(name='look', description='Look it up.'")
    assert " at 0x" not in repr(look)


async def test_a_session_shows_its_id_agent_state_and_age(autojump_clock, service) -> None:
    session = await RealtimeRunner(AGENT, model=service).run()
    assert str(session) == "<RealtimeSession of 'Desk', not entered>"
    async with session:
        await trio.sleep(12.34)
        assert str(session) == f"<RealtimeSession {session.id} of 'Desk', open for 12.3 s>"
        await session.close()
        assert str(session) == f"<RealtimeSession {session.id} of 'Desk', closing for 12.3 s>"
        await trio.sleep(1)
    assert str(session) == f"<RealtimeSession {session.id} of 'Desk', closed after 13.3 s>"


def test_a_session_that_has_ended_can_be_printed_after_the_run(service_in_a_run: Any) -> None:
    assert ", closed after 0.0 s>" in repr(service_in_a_run)


@pytest.fixture
def service_in_a_run() -> Any:
    from trealtime.testing import open_manual_server

    async def main() -> Any:
        async with open_manual_server() as server:
            async with RealtimeRunner(AGENT, model=server).session() as session:
                pass
            return session

    return trio.run(main)


async def test_an_attachment_shows_its_endpoint_and_how_much_went_through(autojump_clock, service) -> None:
    phone = MemoryEndpoint()
    async with RealtimeRunner(AGENT, model=service).session() as session:
        async with session.attach(phone) as attachment:
            await phone.say(bytes(24_000))
            await session.send_message("Hello.")
            await service.last.reply(seconds=1.0)
            await trio.sleep(2)
            attachment.muted = True
            shown = "open, 0.5 s of pcm16 said, muted, 1.0 s of pcm16 played"
            assert repr(attachment) == f"<Attachment of MemoryEndpoint, {shown}>"
        assert repr(attachment).startswith("<Attachment of MemoryEndpoint, closed, ")


async def test_control_characters_do_not_reach_the_terminal() -> None:
    item = items.UserMessageItem(item_id="item_\x1b[2J", content=(items.InputText("\u202eevil\n"),))
    assert repr(item) == "UserMessageItem(item_id='item_\\x1b[2J', content=(InputText(text='\\u202eevil\\n'),))"


def test_what_makes_sessions_and_requests_says_of_what_and_where_and_no_secret() -> None:
    key, url = "sk-proj-secret", "https://user:secret@proxy.example/v1"
    shown = [
        repr(RealtimeRunner(AGENT)),
        repr(RealtimeRestClient(api_key=key, base_url="https://proxy.example/v1")),
        repr(ChatBrain(url, model="llama", api_key=key)),
        repr(RecordingModel(OpenAIRealtimeModel(), "call.jsonl")),
    ]
    assert shown == [
        "RealtimeRunner('Desk')",
        "RealtimeRestClient(base_url='https://proxy.example/v1')",
        "ChatBrain('https://proxy.example/v1', model='llama')",
        "RecordingModel(OpenAIRealtimeWebSocketModel, 'call.jsonl')",
    ]


async def test_what_a_program_holds_says_where_it_stands(autojump_clock) -> None:
    async with open_emulator(listen=False, seed=1) as emulator:
        assert repr(emulator) == "<Emulator in memory, sessions: 0>"
        async with RealtimeRunner(AGENT, model=emulator.memory_model()).session() as session:
            assert repr(emulator) == "<Emulator in memory, sessions: 1>"
            [served] = emulator.sessions
            assert repr(served) == f"<EmulatedSession {served.id}, open>"
            async with session.subscribe("audio", "agent_end") as feed:
                async with session.respond("Hello.") as response:
                    assert repr(response) == "<SessionResponse without an id, asked for>"
                    await anext(response)
                    assert repr(response) == f"<SessionResponse {response.response_id}, running>"
                    await response.transcript()
                    assert repr(response) == f"<SessionResponse {response.response_id}, completed>"
                waiting = f"1 events and {feed.statistics().audio_queued_s:.1f} s of audio waiting"
                assert repr(feed) == f"<Subscription of subscribe('audio', 'agent_end'), open, {waiting}>"
            assert ", closed, " in repr(feed)
    assert repr(served) == f"<EmulatedSession {served.id}, ended with 1000>"


async def test_an_emulator_with_a_socket_shows_its_address() -> None:
    async with open_emulator() as emulator:
        assert repr(emulator) == f"<Emulator at {emulator.url}, sessions: 0>"


def test_an_endpoint_shows_its_formats() -> None:
    assert repr(WavEndpoint(rate=16_000)) == "<WavEndpoint, input none, output pcm16 at 16000 Hz>"
    assert repr(MemoryEndpoint(G711_ULAW, None)) == "<MemoryEndpoint, input g711_ulaw at 8000 Hz, output none>"
