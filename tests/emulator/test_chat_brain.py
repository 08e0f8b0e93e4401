"""A chat server as the brain: what it is asked, what becomes of its stream, and of its failures."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

httpx = pytest.importorskip("httpx", reason="trealtime[http] is not installed")

from trealtime.emulator import open_emulator  # noqa: E402
from trealtime.emulator.brain import BrainRequest, CallFunction, Part, Say, SayMore  # noqa: E402
from trealtime.emulator.chat_brain import ChatBrain, ChatFailed, _Sentences  # noqa: E402
from trealtime.errors import SettingsError  # noqa: E402

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather",
    "parameters": {"type": "object", "properties": {}},
}


class Chat:
    """A chat server in memory: streams the given deltas, and keeps what it was asked."""

    def __init__(self, deltas: Sequence[dict[str, Any] | str], *, status: int = 200, gap_s: float = 0.0) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self._deltas = deltas
        self._status = status
        self._gap_s = gap_s

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content))
        self.headers = dict(request.headers)
        assert str(request.url) == "http://chat.test/v1/chat/completions"
        return httpx.Response(self._status, content=self._lines())

    async def _lines(self) -> AsyncIterator[bytes]:
        yield b": hello\n\n"
        for delta in self._deltas:
            await trio.sleep(self._gap_s)
            text = delta if isinstance(delta, str) else json.dumps({"choices": [{"delta": delta}]})
            yield f"data: {text}\n\n".encode()
        yield b"data: [DONE]\n\n"

    def brain(self, **options: Any) -> ChatBrain:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return ChatBrain("http://chat.test/v1/", client=client, **options)


async def answer(chat: Chat, request: BrainRequest | None = None, **options: Any) -> list[Part]:
    return [part async for part in chat.brain(**options).stream(request or BrainRequest())]


async def test_an_answer_is_said_a_sentence_at_a_time() -> None:
    pieces = ["The weather ", "is fine. It will", " rain to", "morrow! Take", " an umbrella"]
    parts = await answer(Chat([{"content": piece} for piece in pieces]))
    assert parts == [Say("The weather is fine. "), SayMore("It will rain tomorrow! "), SayMore("Take an umbrella")]


async def test_calls_come_in_pieces_and_behind_the_words() -> None:
    pieces = [
        {"content": "Let me see."},
        {"tool_calls": [{"index": 0, "function": {"name": "weather", "arguments": '{"ci'}}]},
        {"tool_calls": [{"index": 1, "function": {"name": "time"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ty": "Oslo"}'}}]},
    ]
    assert await answer(Chat(pieces)) == [
        Say("Let me see."),
        CallFunction("weather", '{"city": "Oslo"}'),
        CallFunction("time", "{}"),
    ]


async def test_a_conversation_is_put_as_a_chat() -> None:
    chat = Chat([{"content": "ok"}])
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": "Hello."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Hi."}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA"},
            ],
        },
        {"type": "function_call", "name": "weather", "call_id": "c1", "arguments": "{}"},
        {"type": "function_call", "name": "weather", "call_id": "c2", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "mcp_list_tools", "server_label": "x"},
    ]
    request = BrainRequest(
        instructions="Be kind.",
        items=items,
        tools=[WEATHER, {"type": "mcp", "server_label": "x"}],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
    )
    await answer(chat, request, model="llama", api_key="secret")
    assert chat.headers["authorization"] == "Bearer secret"
    call = {"type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert chat.asked == [
        {
            "model": "llama",
            "stream": True,
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hello."},
                {"role": "assistant", "content": "Hi."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **call}, {"id": "c2", **call}]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            ],
            "tools": [{"type": "function", "function": {key: WEATHER[key] for key in WEATHER if key != "type"}}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "parallel_tool_calls": False,
        }
    ]


async def test_calls_that_the_server_has_made_are_told_with_their_outputs() -> None:
    chat = Chat([{"content": "ok"}])
    names = {"server_label": "x", "name": "weather", "arguments": "{}"}
    items = [
        {"type": "mcp_call", "id": "m1", "output": "sunny", "error": None, **names},
        {"type": "mcp_call", "id": "m2", "output": None, "error": {"message": "no such city"}, **names},
        {"type": "mcp_approval_request", "id": "r1", **names},
        {"type": "mcp_approval_response", "approval_request_id": "r1", "approve": False},
    ]
    await answer(chat, BrainRequest(items=items, tools=[WEATHER], tool_choice={"type": "mcp", "server_label": "x"}))
    (asked,) = chat.asked
    assert asked["tool_choice"] == "required"
    assert [(message["role"], message["content"]) for message in asked["messages"]] == [
        ("assistant", None),
        ("tool", "sunny"),
        ("assistant", None),
        ("tool", "no such city"),
        ("system", "The user has not allowed that call."),
    ]


@pytest.mark.parametrize(
    "deltas, status, said",
    [
        ([], 401, "status 401"),
        (["{nonsense"], 200, "no chat completion: {nonsense"),
        (["[1]"], 200, "no chat completion"),
        (['{"error": {"message": "overloaded"}}'], 200, "broke off: .*overloaded"),
    ],
)
async def test_what_goes_wrong_there_says_so(deltas: list[str], status: int, said: str) -> None:
    with pytest.raises(ChatFailed, match=said):
        await answer(Chat(deltas, status=status))


@pytest.mark.parametrize("status", [200, 401])
async def test_a_key_that_the_server_repeats_is_in_no_error(status: int) -> None:
    said = '{"error": {"message": "wrong key sk-SECRET0123 at /chat?code=pa55word"}}'
    url = "http://user:pa55word@chat.test/v1?code=pa55word"

    async def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=f"data: {said}\n".encode())

    client = httpx.AsyncClient(transport=httpx.MockTransport(serve))
    brain = ChatBrain(url, client=client, api_key="sk-SECRET0123")
    with pytest.raises(ChatFailed, match="wrong key") as caught:
        await anext(brain.stream(BrainRequest()))
    for text in (str(caught.value), repr(brain), repr(vars(brain))):
        assert "SECRET" not in text
        assert "pa55word" not in text


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_without_an_end_costs_little(status: int) -> None:
    sent = 0

    async def zeros() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            await trio.lowlevel.checkpoint()
            yield bytes(2**16)

    async def serve(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        return httpx.Response(status, content=zeros())

    brain = ChatBrain("http://chat.test/v1", client=httpx.AsyncClient(transport=httpx.MockTransport(serve)))
    with pytest.raises(ChatFailed, match="status 500" if status == 500 else "a line of more than"):
        await anext(brain.stream(BrainRequest()))
    assert sent < 20


async def test_a_compressed_answer_is_not_inflated() -> None:
    bomb = gzip.compress(bytes(2**20))

    async def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, stream=httpx.ByteStream(bomb), headers={"content-encoding": "gzip"})

    brain = ChatBrain("http://chat.test/v1", client=httpx.AsyncClient(transport=httpx.MockTransport(serve)))
    with pytest.raises(ChatFailed, match="compressed"):
        await anext(brain.stream(BrainRequest()))


async def test_nobody_at_the_other_end_says_so() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    brain = ChatBrain("http://chat.test/v1", client=httpx.AsyncClient(transport=httpx.MockTransport(refuse)))
    with pytest.raises(ChatFailed, match="no route"):
        async for _ in brain.stream(BrainRequest()):
            pass


@pytest.mark.parametrize("url", ["", "localhost:11434", "ftp://chat.test", "http://user:pa55word@ch\u2100t.test"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="the base of a chat server") as caught:
        ChatBrain(url)
    assert "pa55word" not in str(caught.value)


async def test_speech_begins_while_the_rest_is_being_made(kit: Any, autojump_clock: MockClock) -> None:
    chat = Chat([{"content": f"This is sentence number {n}. "} for n in range(4)], gap_s=1.0)
    async with open_emulator(listen=False, brain=chat.brain(), seed=1) as emulator, emulator.connect() as wire:
        client = kit.client_of(wire)
        await client.next()
        await client.say("Talk to me")
        asked_at = trio.current_time()
        await client.send("response.create")
        await client.get("response.output_audio.delta")
        assert trio.current_time() - asked_at < 2
        response = (await client.get("response.done"))["response"]
        assert trio.current_time() - asked_at >= 4
        assert [item["content"][0]["transcript"] for item in response["output"]] == [
            "".join(f"This is sentence number {n}. " for n in range(4))
        ]


async def test_a_failure_is_that_of_one_response(
    kit: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_emulator(listen=False, brain=Chat([], status=500).brain()) as emulator, emulator.connect() as wire:
        client = kit.client_of(wire)
        await client.next()
        for _ in range(2):
            await client.say("Hello")
            await client.send("response.create")
            assert (await client.get("response.done"))["response"]["status"] == "failed"
    assert "status 500" in caplog.text


@pytest.mark.parametrize("piece", ["word ", "x", ".", "!?", "\n"])
def test_an_answer_without_an_end_is_said_in_pieces(piece: str) -> None:
    words = _Sentences()
    said = [sentence for _ in range(20_000) for sentence in words.add(piece)]
    said.append(words.rest())
    assert "".join(said) == piece * 20_000
    assert max(map(len, said)) <= 400
    assert max(len(each) for each in _Sentences().add("." * 100_000)) <= 400
