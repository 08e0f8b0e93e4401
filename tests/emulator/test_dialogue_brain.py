"""The default brain in conversations, with functions that answer at once."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.emulator import open_emulator
from trealtime.emulator.brain import Brain, BrainRequest, CallFunction, Say
from trealtime.emulator.dialogue import DialogueBrain
from trealtime.emulator.dialogue.language import sum_in, tell_output
from trealtime.emulator.dialogue.slots import question

NEW_YEAR = dt.datetime(2027, 1, 15, 8, 0, tzinfo=dt.UTC).timestamp()


def function(
    name: str, description: str, required: Sequence[str] | None = None, /, **properties: Any
) -> dict[str, Any]:
    parameters = {"properties": properties, "required": list(properties if required is None else required)}
    return {"type": "function", "name": name, "description": description, "parameters": {"type": "object"} | parameters}


WEATHER = function(
    "get_weather",
    "Current weather.",
    ["city"],
    city={"type": "string"},
    units={"type": "string", "enum": ["celsius", "fahrenheit"]},
)
BOOK = function(
    "book_table",
    "Book a table.",
    guests={"type": "integer", "description": "How many people come."},
    day={"type": "string"},
    name={"type": "string"},
)
ORDER = function("order_status", "Look up an order.", order_id={"type": "integer"})
BILLING = function("transfer_to_billing", "Handoff to the Billing agent to handle the request. Invoices and refunds.")
TOOLS = [WEATHER, BOOK, ORDER, BILLING]
OUTPUTS = {
    "get_weather": '{"temperature_c": 21, "sky": "sunny"}',
    "book_table": "confirmed",
    "order_status": "shipped",
    "transfer_to_billing": '{"assistant": "Billing"}',
}


def user(text: str, *more: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}, *more]}


async def converse(*said: str, instructions: str = "You are Otto.", tools: Sequence[Any] = TOOLS) -> list[list[str]]:
    """What the brain answers to each message: its words, and its calls as ``name{arguments}``."""
    brain: Brain = DialogueBrain(timezone=dt.UTC)
    items: list[dict[str, Any]] = []
    answers: list[list[str]] = []
    for text in said:
        items.append(user(text))
        answers.append([])
        for _ in range(4):
            request = BrainRequest(items=items, tools=tools, instructions=instructions, unix_time_s=NEW_YEAR)
            parts = (await brain.reply(request)).parts
            for part in parts:
                if isinstance(part, CallFunction):
                    call_id = f"call_{len(items)}"
                    answers[-1].append(f"{part.name}{part.arguments}")
                    call = {"type": "function_call", "name": part.name, "call_id": call_id, "arguments": part.arguments}
                    output = {
                        "type": "function_call_output",
                        "call_id": call_id,
                        "output": OUTPUTS.get(part.name, "done"),
                    }
                    items += [call, output]
                    if part is parts[-1] and part.name == "transfer_to_billing":
                        instructions, tools = "You are Berta from billing.", [ORDER]
                else:
                    answers[-1].append(part.text)
                    items.append({"type": "message", "role": "assistant", "content": [{"text": part.text}]})
            if not any(isinstance(part, CallFunction) for part in parts):
                break
    return answers


async def answer(text: str, **more: Any) -> list[str]:
    return (await converse(text, **more))[-1]


# ---- memory ---------------------------------------------------------------------------------------------------------

INTRODUCED = "My name is Martha and I live in Bern. My favourite colour is blue."


@pytest.mark.parametrize(
    "asked, told",
    [
        ("What is my name?", "Your name is Martha."),
        ("Do you know my name?", "Your name is Martha."),
        ("Where do I live?", "You live in Bern."),
        ("What's my favourite colour?", "Your favourite colour is blue."),
        ("What's my dog's name?", "You have not told me about your dog's name yet."),
        ("What do I like?", "You have not told me that yet."),
        (
            "What do you know about me?",
            "You told me that your name is Martha, your favourite colour is blue and you live in Bern.",
        ),
        ("Goodbye", "Goodbye, Martha!"),
    ],
)
async def test_it_remembers_what_it_was_told(asked: str, told: str) -> None:
    assert await converse(INTRODUCED, "The rain is loud.", asked) == [
        ["Nice to meet you, Martha."],
        ["You said: The rain is loud."],
        [told],
    ]


async def test_it_knows_nothing_of_a_conversation_in_which_nothing_was_told() -> None:
    assert await answer("What is my name?") == ["You have not told me your name yet."]
    assert await answer("What do you know about me?") == ["You have told me nothing about yourself yet."]


async def test_what_is_told_later_counts() -> None:
    assert (await converse("My name is Martha.", "Call me Bob.", "What is my name?"))[-1] == ["Your name is Bob."]
    assert (await converse("my name is martha", "what's my name"))[-1] == ["Your name is Martha."]
    assert await converse("remember my birthday is in May", "When is my birthday?") == [
        ["Your birthday is in May. I will remember that."],
        ["Your birthday is in May."],
    ]
    assert (await converse("Remember that the key is under the mat", "What do you remember?"))[-1] == [
        "You told me that the key is under the mat."
    ]


# ---- sums and the clock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked, told",
    [
        ("How much is a hundred divided by four?", "100 divided by 4 is 25."),
        ("What is two plus three times four?", "2 plus 3 times 4 is 14."),
        ("What is (2 + 3) * 4?", "(2 plus 3) times 4 is 20."),
        ("what's fifteen percent of eighty", "15 percent of 80 is 12."),
        ("What is the square root of sixteen?", "The square root of 16 is 4."),
        ("2 to the power of ten", "2 to the power of 10 is 1024."),
        ("What's two point five plus one?", "2.5 plus 1 is 3.5."),
        ("What is two hundred and fifty minus a dozen?", "250 minus 12 is 238."),
        ("What is three thousand five hundred times two?", "3500 times 2 is 7000."),
        ("What is 7 / 0", "Nobody can divide by zero."),
        ("What is 10 - 4 - 3?", "10 minus 4 minus 3 is 3."),
    ],
)
def test_sums_are_done(asked: str, told: str) -> None:
    assert sum_in(asked) == told


@pytest.mark.parametrize("text", ["My number is 555-1234", "What is the rain?", "What is 9 ** 9999", "Plus two", ""])
def test_what_is_no_sum_is_left_alone(text: str) -> None:
    assert sum_in(text) is None


@pytest.mark.parametrize(
    "asked, told",
    [
        ("What time is it?", "It is 08:00."),
        ("What's the date today?", "Today is Friday, 15 January 2027."),
        ("Which year is it?", "It is 2027."),
    ],
)
async def test_the_time_is_that_of_the_emulator(asked: str, told: str) -> None:
    assert await answer(asked) == [told]


async def test_in_a_session_the_time_is_the_emulators_and_goes_on(autojump_clock) -> None:
    async with open_emulator(listen=False, brain=DialogueBrain(timezone=dt.UTC), unix_time_s=NEW_YEAR) as emulator:
        runner = RealtimeRunner(RealtimeAgent(name="Otto"), model=emulator.memory_model())
        async with runner.session() as session:
            assert (await session.ask("What time is it?")).text == "It is 08:00."
            await trio.sleep(600)
            assert (await session.ask("What time is it?")).text == "It is 08:10."


# ---- small talk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["Are you ChatGPT?", "Are you a human?", "Which language model are you?"])
async def test_it_does_not_pretend_to_be_a_language_model(asked: str) -> None:
    (told,) = await answer(asked)
    assert told.startswith("I am no language model and no person.")


@pytest.mark.parametrize(
    "said, told",
    [
        ("How are you?", "I am fine, thank you. How are you?"),
        ("Who are you?", "I am Otto."),
        ("Thanks!", "You are welcome."),
        ("count to three", "1, 2, 3."),
        ("Who painted the Mona Lisa?", "You asked: Who painted the Mona Lisa?"),
        ("The rain is loud.", "You said: The rain is loud."),
        ("(speech, 1.5 s)", "I heard you speak for 1.5 seconds, but I cannot make out words."),
    ],
)
async def test_small_talk(said: str, told: str) -> None:
    assert await answer(said, tools=[]) == [told]


async def test_images_are_acknowledged_and_not_described() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    reply = await DialogueBrain().reply(BrainRequest(items=[user("", image)]))
    assert reply.parts == (Say("I see your image."),)
    reply = await DialogueBrain().reply(BrainRequest(items=[user("What is in this image?", image, image)]))
    assert reply.parts == (Say("I see your 2 images. I cannot tell what is in it: I have rules, and no eyes."),)


async def test_instructions_of_the_response_alone_are_followed_and_those_of_the_session_are_not() -> None:
    asked = {"items": [user("Thanks!")], "instructions": 'Say "Time is up".'}
    own = await DialogueBrain().reply(BrainRequest(**asked, own_instructions=True))
    others = await DialogueBrain().reply(BrainRequest(**asked))
    assert (own.parts, others.parts) == ((Say("Time is up"),), (Say("You are welcome."),))


# ---- filling in what a function needs -------------------------------------------------------------------------------

WEATHER_TOLD = "The temperature is 21 degrees Celsius and the sky is sunny."


async def test_what_is_missing_is_asked_for_and_the_answer_is_taken() -> None:
    assert await converse("What's the weather?", "Paris.") == [
        ["Which city?"],
        ['get_weather{"city": "Paris"}', WEATHER_TOLD],
    ]


async def test_nothing_is_asked_where_all_was_said() -> None:
    assert await answer("What's the weather in Oslo?") == ['get_weather{"city": "Oslo"}', WEATHER_TOLD]


async def test_several_arguments_are_asked_for_one_by_one_and_a_question_in_between_is_answered() -> None:
    said = ("I'd like to book a table.", "four people", "What time is it?", "On Friday", "My name is Martha")
    assert await converse(*said) == [
        ["How many people come?"],
        ["Which day?"],
        ["It is 08:00. Which day?"],
        ["What name, please?"],
        ['book_table{"guests": 4, "day": "Friday", "name": "Martha"}', "Done: confirmed."],
    ]


DELIVER = function("book_delivery", "Book a delivery.", when={"type": "string"})
REMIND = function("remind_me", "Set a reminder.", text={"type": "string"}, time={"type": "string"})


@pytest.mark.parametrize(
    "said, call",
    [
        ('Please call book_delivery with when "night".', 'book_delivery{"when": "night"}'),
        ('Book a delivery, "Sunday at noon" please', 'book_delivery{"when": "Sunday at noon"}'),
        ("Book a delivery on Sunday", 'book_delivery{"when": "Sunday"}'),
        ('remind_me "Take the bins out" at 7:30', 'remind_me{"text": "Take the bins out", "time": "7:30"}'),
        ('remind_me at "half past seven" "Bins"', 'remind_me{"text": "Bins", "time": "half past seven"}'),
    ],
)
async def test_a_value_in_quotes_is_taken_for_a_day_or_a_time_too(said: str, call: str) -> None:
    (told,) = await converse(said, tools=[DELIVER, REMIND])
    assert told[0] == call


async def test_an_answer_in_quotes_is_taken_whole() -> None:
    (asked, told) = await converse("Book a delivery", '"Sunday at noon"', tools=[DELIVER])
    assert asked == ["When?"]
    assert told[0] == 'book_delivery{"when": "Sunday at noon"}'


async def test_a_name_that_is_known_is_not_asked_for() -> None:
    (_, told) = await converse("I am Martha.", "Book a table for two on Friday")
    assert told[0] == 'book_table{"guests": 2, "day": "Friday", "name": "Martha"}'


@pytest.mark.parametrize(
    "said, call",
    [
        ("no, London", '{"city": "London"}'),
        ("No, I meant New York", '{"city": "New York"}'),
        ("and in Rome?", '{"city": "Rome"}'),
        ("what about Berlin in fahrenheit", '{"city": "Berlin", "units": "fahrenheit"}'),
    ],
)
async def test_a_call_that_was_made_can_be_corrected(said: str, call: str) -> None:
    assert (await converse("What's the weather in Paris?", said))[-1] == [f"get_weather{call}", WEATHER_TOLD]


async def test_what_was_answered_can_be_corrected_before_the_call() -> None:
    told = await converse("Book a table", "four", "no, five people", "Friday", "Smith")
    assert told[2] == ["Which day?"]
    assert told[-1][0] == 'book_table{"guests": 5, "day": "Friday", "name": "Smith"}'


async def test_an_answer_without_a_value_is_asked_for_again() -> None:
    assert await converse("Where is my order?", "the blue thing", "number 42") == [
        ["What is the order id?"],
        ["Sorry, what is the order id?"],
        ['order_status{"order_id": 42}', "The order status is shipped."],
    ]


async def test_digits_that_are_said_one_by_one_are_a_number() -> None:
    assert (await converse("Where is my order?", "it's one two three"))[-1][0] == 'order_status{"order_id": 123}'


async def test_what_is_no_value_changes_no_call() -> None:
    assert await converse("What's the weather in Paris?", "how about tomorrow") == [
        ['get_weather{"city": "Paris"}', WEATHER_TOLD],
        ["You said: how about tomorrow"],
    ]


async def test_it_can_be_given_up() -> None:
    assert await converse("What's the weather?", "never mind", "Thanks!") == [
        ["Which city?"],
        ["All right, never mind."],
        ["You are welcome."],
    ]


CAREFUL = "You are a host. Always confirm before you book."


@pytest.mark.parametrize(
    "said, told",
    [
        ("yes please", 'book_table{"guests": 2, "day": "Friday", "name": "Smith"}'),
        ("no, three people", "Book table: day Friday, name Smith and guests 3. Is that right?"),
        ("no", "All right, never mind."),
        ("What time is it?", "It is 08:00. Book table: day Friday, name Smith and guests 2. Is that right?"),
    ],
)
async def test_where_the_instructions_say_so_calls_are_confirmed(said: str, told: str) -> None:
    asked, answered = await converse("Book a table for two on Friday under Smith", said, instructions=CAREFUL)
    assert asked == ["Book table: day Friday, name Smith and guests 2. Is that right?"]
    assert answered[0] == told


@pytest.mark.parametrize(
    "name, schema, asked",
    [
        ("city", {"type": "string", "description": "The city."}, "Which city?"),
        ("guests", {"type": "integer"}, "How many guests?"),
        ("guests", {"description": "How many people come. Children count."}, "How many people come?"),
        ("order_id", {"type": "string"}, "What is the order id?"),
        ("departure_date", {"type": "string"}, "Which day?"),
        ("size", {"enum": ["s", "m", "l"]}, "Which size: s, m or l?"),
        ("giftWrapped", {"type": "boolean"}, "Gift wrapped: yes or no?"),
    ],
)
def test_questions_come_from_the_schema(name: str, schema: dict[str, Any], asked: str) -> None:
    assert question(name, schema) == asked


# ---- telling what functions returned --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, output, told",
    [
        ("get_weather", "sunny", "The weather is sunny."),
        ("order_status", '"shipped"', "The order status is shipped."),
        ("book_table", "confirmed", "Done: confirmed."),
        ("table_for", "Table 7, for 4", "Table 7, for 4."),
        ("cancel", "", "Done."),
        ("search", "[]", "I found nothing."),
        ("is_open", "true", "Yes."),
        ("get_weather", '{"wind": {"speed_kmh": 12}}', "The wind speed is 12 kilometres per hour."),
        ("menu", '["soup", "fish", "cake"]', "Soup, fish and cake."),
        ("slots", '[{"time": "7 pm"}, {"time": "8 pm"}]', "There are 2: the time is 7 pm; the time is 8 pm."),
        ("numbers", "[1, 2, 3, 4, 5, 6, 7]", "1, 2, 3, 4, 5 and 2 more."),
        ("broken", "{not json at all", "{not json at all."),
    ],
)
def test_outputs_are_told_in_sentences(name: str, output: str, told: str) -> None:
    assert tell_output(name, output) == told


# ---- handoffs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["I'd like to speak to billing please", "I have a question about an invoice"])
async def test_it_hands_over_and_the_new_agent_greets(said: str) -> None:
    assert await answer(said) == ["transfer_to_billing{}", "Hello! I am Berta from billing. How can I help?"]


async def test_the_new_agent_takes_up_what_was_asked_for() -> None:
    assert await answer("I want a refund for order 12") == [
        "transfer_to_billing{}",
        "Hello! I am Berta from billing. How can I help?",
        'order_status{"order_id": 12}',
        "The order status is shipped.",
    ]


# ---- anything -------------------------------------------------------------------------------------------------------

PHRASES = (
    "no,",
    "and in Rome?",
    "42",
    "weather",
    "book a table",
    "my name is",
    "never mind",
    "yes",
    "refund",
    "(",
    "**",
)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text() | st.lists(st.sampled_from(PHRASES)).map(" ".join), min_size=1, max_size=5))
def test_no_conversation_is_without_an_answer(texts: list[str]) -> None:
    request = BrainRequest(items=[user(text) for text in texts], tools=TOOLS, instructions=CAREFUL)
    coroutine = DialogueBrain().reply(request)
    with pytest.raises(StopIteration) as finished:
        coroutine.send(None)  # it waits for nothing
    parts = finished.value.value.parts
    assert parts
    assert all(json.loads(part.arguments) is not None for part in parts if isinstance(part, CallFunction))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYWORDS = st.sampled_from(
    ["type", "properties", "required", "enum", "const", "anyOf", "items", "$ref", "$defs", "description", "default"]
)
SCHEMAS = st.recursive(
    st.dictionaries(KEYWORDS, JSON, max_size=4),
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["object", "array", "string", "integer", ["string", 5], 7])},
        optional={
            "properties": st.dictionaries(st.sampled_from(["city", "day", ""]), inner, max_size=3) | JSON,
            "required": st.lists(st.sampled_from(["city", "day", 5, None])) | JSON,
            "anyOf": st.lists(inner, max_size=2) | JSON,
            "items": inner | JSON,
            "enum": st.lists(JSON, max_size=3),
        },
    ),
    max_leaves=6,
)


@given(SCHEMAS, JSON, JSON)
@settings(deadline=None, max_examples=60)
def test_any_schema_of_a_function_is_answered(schema, name, description) -> None:
    """A client may write what it likes: a brain that fails fails the response."""
    tools = [
        {"type": "function", "name": "get_weather", "description": description, "parameters": schema},
        {"type": "function", "name": name, "description": "Books a table", "parameters": schema},
        {"type": "function", "name": "book", "description": description},
    ]
    said = ["What is the weather in Paris on Monday?", "Call get_weather with 5.", "Paris", "yes", "book a table"]
    answers = trio.run(functools.partial(converse, *said, tools=tools))
    assert all(answers)
