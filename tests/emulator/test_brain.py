"""Scripts, and what the default brain answers to one message: words, calls, arguments."""

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trealtime.emulator
from trealtime.emulator.brain import BrainReply, BrainRequest, CallFunction, Say, ScriptedBrain
from trealtime.emulator.dialogue import DialogueBrain
from trealtime.emulator.dialogue.functions import calls_for, fill_arguments, functions_of
from trealtime.emulator.dialogue.language import content_words, with_digits


def function(
    name: str, description: str = "", required: tuple[str, ...] | None = None, **properties: Any
) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": list(properties if required is None else required),
        },
    }


ORDER = function("order_status", "Look up an order.", order_id={"type": "integer"})
WEATHER = function(
    "get_weather",
    "Current weather.",
    city={"type": "string"},
    units={"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
)
HANDOFF = function("transfer_to_billing_agent", "Handoff to the billing agent to handle the request.")


def user(text: str, *more: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}, *more]}


def assistant(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": text}]}


def called(name: str, call_id: str = "call_1") -> dict[str, Any]:
    return {"type": "function_call", "name": name, "call_id": call_id, "arguments": "{}"}


def output(text: str, call_id: str = "call_1") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


async def reply(*items: dict[str, Any], **request: Any) -> BrainReply:
    return await DialogueBrain(random.Random(1)).reply(BrainRequest(items=items, **request))


async def words(*items: dict[str, Any], **request: Any) -> str:
    (part,) = (await reply(*items, **request)).parts
    assert isinstance(part, Say)
    return part.text


async def calls(*items: dict[str, Any], **request: Any) -> list[tuple[str, Any]]:
    parts = (await reply(*items, **request)).parts
    return [(part.name, json.loads(part.arguments)) for part in parts if isinstance(part, CallFunction)]


# ---- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said, answer",
    [
        ("what is 2 plus 3", "2 plus 3 is 5."),
        ("What's twelve divided by five?", "12 divided by 5 is 2.4."),
        ("how much is twenty-one times 2", "21 times 2 is 42."),
        ("7 - 9", "7 minus 9 is -2."),
        ("What is 1 divided by 0?", "Nobody can divide by zero."),
        ("count to 5", "1, 2, 3, 4, 5."),
        ("Please count from one up to three.", "1, 2, 3."),
        ('How many words are in "a b c"?', "That is 3 words."),
        ("How many words did I say", "That is 6 words."),
        ("Repeat after me: the quick fox", "the quick fox"),
        ('Please say "Welcome home" now', "Welcome home"),
        ("Who are you?", "I am Nova."),
        ("How are you?", "I am fine, thank you. How are you?"),
        ("Thanks a lot", "You are welcome."),
        ("Goodbye", "Goodbye!"),
        ("Trains are fine.", "You said: Trains are fine."),
        ("Do you like trains?", "You asked: Do you like trains?"),
        ("Call 555-1234", "You said: Call 555-1234"),
        ("Hi, I need help with my bill", "You said: Hi, I need help with my bill"),
        ("count the stars", "You said: count the stars"),
        ("(speech, 1.8 s)", "I heard you speak for 1.8 seconds, but I cannot make out words."),
        ("(silence, 6.0 s)", "I heard nothing for 6.0 seconds. Are you still there?"),
        ("", "I heard you, but I could not make out any words."),
    ],
)
async def test_the_table_of_rules(said: str, answer: str) -> None:
    assert await words(user(said), instructions="You are Nova, who helps with orders.") == answer


@pytest.mark.parametrize(
    "said", ["Say hello in one short sentence.", "hello", "Hi there!", "Good morning, Nova", "greet me"]
)
async def test_a_greeting_is_answered_with_hello(said: str) -> None:
    answer = await words(user(said))
    assert answer.startswith("Hello!")
    assert len(answer.split()) < 12


async def test_the_same_seed_greets_in_the_same_words_and_others_differ() -> None:
    async def greetings(seed: int) -> list[str]:
        brain = DialogueBrain(random.Random(seed))
        replies = [await brain.reply(BrainRequest(items=[user("hello")])) for _ in range(8)]
        return [part.text for reply in replies for part in reply.parts if isinstance(part, Say)]

    assert await greetings(1) == await greetings(1)
    assert len(set(await greetings(1))) > 1


async def test_a_spoken_turn_is_answered_by_its_transcript() -> None:
    spoken = {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": "what is 2 plus 2"}]}
    assert await words(spoken) == "2 plus 2 is 4."
    unheard = {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    assert await words(unheard) == "I heard you, but I could not make out any words."


async def test_only_the_last_user_message_is_answered() -> None:
    assert await words(user("hello"), assistant("Hello!"), user("count to 2")) == "1, 2."


async def test_what_was_said_can_be_had_again() -> None:
    assert await words(user("x"), assistant("You said: x"), user("Say that again, please")) == "You said: x"


@pytest.mark.parametrize("said, least", [("tell me a long story", 100), ("count to 50", 50)])
async def test_long_answers_are_long_enough_to_interrupt(said: str, least: int) -> None:
    assert len((await words(user(said))).split()) >= least


async def test_counting_ends() -> None:
    assert (await words(user("count to 999999999"))).endswith(" 1000.")


async def test_images_are_acknowledged() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    assert await words(user("", image)) == "I see your image."
    assert await words(user("what is 1 plus 1", image, image)) == "I see your 2 images. 1 plus 1 is 2."


@pytest.mark.parametrize(
    "instructions, answer",
    [
        ("You are Nova. Greet the caller.", "Hello! I am Nova."),
        ("Your name is Bob\nBe kind.", "Hello! I am Bob."),
        ("", "Hello! I am a small brain made of rules, and I have no name."),
        ('Say exactly "Welcome to the shop."', "Welcome to the shop."),
    ],
)
async def test_without_a_user_message_the_agent_opens_the_talk(instructions: str, answer: str) -> None:
    assert await words(instructions=instructions) == answer


# ---- functions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said, expected",
    [
        ("order status 42", [("order_status", {"order_id": 42})]),
        ("Can you tell me the status of my order number seventeen?", [("order_status", {"order_id": 17})]),
        ("Call order_status with 7", [("order_status", {"order_id": 7})]),
        ("Where is my order 99?", [("order_status", {"order_id": 99})]),
        ("What is the weather in Paris?", [("get_weather", {"city": "Paris", "units": "celsius"})]),
        ("Weather for New York in fahrenheit", [("get_weather", {"city": "New York", "units": "fahrenheit"})]),
        ("Please transfer me to billing", [("transfer_to_billing_agent", {})]),
        (
            "The weather in Rome and the order status of 42",
            [("get_weather", {"city": "Rome", "units": "celsius"}), ("order_status", {"order_id": 42})],
        ),
        ("I would like to order a pizza", []),
        ("hello", []),
        ("what is 2 plus 3", []),
    ],
)
async def test_functions_are_called_when_the_words_point_at_them(said: str, expected: list[Any]) -> None:
    assert await calls(user(said), tools=[ORDER, WEATHER, HANDOFF]) == expected


async def test_without_parallel_calls_only_the_first_is_made() -> None:
    said = user("weather in Rome and order status 42")
    assert [name for name, _ in await calls(said, tools=[ORDER, WEATHER], parallel_tool_calls=False)] == ["get_weather"]


async def test_tool_choice_none_calls_nothing() -> None:
    assert await words(user("order status 42"), tools=[ORDER], tool_choice="none") == "You said: order status 42"


@pytest.mark.parametrize("own", [True, False])
async def test_words_that_the_instructions_of_one_response_want_said_are_said(own: bool) -> None:
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where is order 7?"}]}]
    asked = {"items": items, "tools": [ORDER], "instructions": 'Say "One moment."', "own_instructions": own}
    reply = await DialogueBrain().reply(BrainRequest(**asked))
    assert (reply.parts == (Say("One moment."),)) is own
    demanded = await DialogueBrain().reply(BrainRequest(**asked, tool_choice="required"))
    assert isinstance(demanded.parts[0], CallFunction)


async def test_tool_choice_required_calls_the_best_or_else_the_first() -> None:
    assert await calls(user("weather in Rome"), tools=[ORDER, WEATHER], tool_choice="required") == [
        ("get_weather", {"city": "Rome", "units": "celsius"})
    ]
    assert await calls(user("hi"), tools=[ORDER, WEATHER], tool_choice="required") == [
        ("order_status", {"order_id": 0})
    ]


async def test_tool_choice_by_name_calls_that_one() -> None:
    choice: Mapping[str, Any] = {"type": "function", "name": "order_status"}
    assert await calls(user("weather 5"), tools=[WEATHER, ORDER], tool_choice=choice) == [
        ("order_status", {"order_id": 5})
    ]


async def test_mcp_tools_are_left_to_the_server() -> None:
    assert functions_of([{"type": "mcp", "server_label": "docs"}, ORDER]) == [ORDER]
    assert await words(user("docs"), tools=[{"type": "mcp", "server_label": "docs"}], tool_choice="required")


@pytest.mark.parametrize("tool_choice", ["auto", "required"])
async def test_outputs_are_told_and_not_asked_for_again(tool_choice: str) -> None:
    history = (user("order status 42"), called("order_status"), output("It is shipped."))
    assert await words(*history, tools=[ORDER], tool_choice=tool_choice) == "It is shipped."


async def test_several_outputs_are_told_in_one_answer() -> None:
    history = (
        user("weather and order status"),
        called("get_weather", "a"),
        called("order_status", "b"),
        output("sunny", "a"),
        output("shipped", "b"),
        output("lost", "unknown"),
    )
    assert await words(*history) == "The weather is sunny. The order status is shipped. The function is lost."


async def test_outputs_that_were_told_are_not_told_again() -> None:
    told = (
        user("order status 42"),
        called("order_status"),
        output("shipped"),
        assistant("The order status is shipped."),
    )
    assert await words(*told, user("thank you")) == "You are welcome."
    assert await words(*told) == "You said: order status 42"


# ---- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, schema, value",
    [
        ("3 or 4", {"type": "integer"}, 3),
        ("minus: -4", {"type": "integer"}, -4),
        ("it costs 2.50", {"type": "number"}, 2.5),
        ("version 2.5 of 7", {"type": "integer"}, 7),
        ("value is 9, not 8", {"type": "integer"}, 9),
        ("for twenty-five people", {"type": "integer"}, 25),
        ("nothing", {"type": "integer"}, 0),
        ("nothing", {"type": "integer", "minimum": 1}, 1),
        ("nothing", {"type": "integer", "default": 5}, 5),
        ("with value please", {"type": "boolean"}, True),
        ("without any value", {"type": "boolean"}, False),
        ("value off", {"type": "boolean"}, False),
        ("yes", {"type": "boolean"}, True),
        ("nothing", {"type": "boolean"}, False),
        ('say "good day" to Anna', {"type": "string"}, "good day"),
        ("a table for Anna Smith", {"type": "string"}, "Anna Smith"),
        ("fly to rome", {"type": "string"}, "rome"),
        ("just words", {"type": "string"}, "just words"),
        ("mail bob@example.org now", {"type": "string", "format": "email"}, "bob@example.org"),
        ("on 2026-12-24 at 18:30", {"type": "string", "format": "date"}, "2026-12-24"),
        ("make it Large", {"enum": ["small", "large"]}, "large"),
        ("in two days", {"enum": [1, 2]}, 2),
        ("nothing", {"enum": ["small", "large"]}, "small"),
        ("anything", {"const": "v1"}, "v1"),
        ("1, 2 and 3", {"type": "array", "items": {"type": "integer"}}, [1, 2, 3]),
        ("cheese and ham", {"type": "array", "items": {"enum": ["ham", "egg", "cheese"]}}, ["ham", "cheese"]),
        ("nothing", {"type": "array"}, []),
        ("nothing", {"type": "array", "items": {"const": 1}}, []),
        ("5", {"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": 5}),
        ("5", {"anyOf": [{"type": "null"}, {"type": "integer"}]}, 5),
        ("nothing", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ("nothing", {"type": ["integer", "null"]}, None),
        ("nothing", {"type": "null"}, None),
        ("5", {"$ref": "#/$defs/count"}, 5),
        ("5", {"$ref": "#/nowhere"}, "5"),
    ],
)
def test_a_required_argument_is_filled_by_its_type(text: str, schema: dict[str, Any], value: object) -> None:
    whole = {"properties": {"value": schema}, "required": ["value"], "$defs": {"count": {"type": "integer"}}}
    assert fill_arguments(text, whole) == {"value": value}


def test_each_piece_of_the_text_is_used_once_and_names_go_first() -> None:
    schema = function(
        "f", table={"type": "integer"}, people={"type": "integer"}, order_id={"type": "string"}, note={"type": "string"}
    )["parameters"]
    text = 'table 7, order id A-12, people: 4, and "no nuts"'
    assert fill_arguments(text, schema) == {"table": 7, "people": 4, "order_id": "A-12", "note": "no nuts"}


def test_optional_arguments_need_a_word_for_them() -> None:
    schema = function("f", "", (), size={"enum": ["s", "m"]}, count={"type": "integer"}, deep={"type": "object"})[
        "parameters"
    ]
    assert fill_arguments("hello", schema) == {}
    assert fill_arguments("2 of m", schema) == {"size": "m", "count": 2}


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}
    result = fill_arguments("x", {**node, "$defs": {"node": node}})
    assert len(json.dumps(result)) < 200


def test_a_function_without_parameters_is_called_with_none() -> None:
    assert calls_for("please hang up", [{"type": "function", "name": "hang_up"}]) == [("hang_up", {})]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("twenty-one apples", "21 apples"),
        ("two hundred", "200"),
        ("Nineteen", "19"),
        ("someone", "someone"),
        ("7", "7"),
    ],
)
def test_spelled_numbers(text: str, expected: str) -> None:
    assert with_digits(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("get_weather", ["weather"]),
        ("getOrderStatus", ["order", "status"]),
        ("What's my order's address?", ["order", "address"]),
    ],
)
def test_words_that_carry_meaning(text: str, expected: list[str]) -> None:
    assert content_words(text) == expected


# ---- scripts --------------------------------------------------------------------------------------------------------


async def test_a_script_is_said_in_order_and_then_the_next_brain_answers() -> None:
    call = CallFunction("order_status", '{"order_id": 1}')
    brain = ScriptedBrain(["one", call, [Say("two"), call], []], then=DialogueBrain())
    request = BrainRequest(items=[user("count to 2")])
    assert [(await brain.reply(request)).parts for _ in range(5)] == [
        (Say("one"),),
        (call,),
        (Say("two"), call),
        (),
        (Say("1, 2."),),
    ]


@pytest.mark.parametrize("name", ["RuleBrain", "TalkingBrain"])
def test_the_former_names_of_the_brain_warn(name: str) -> None:
    with pytest.warns(DeprecationWarning, match="DialogueBrain"):
        assert getattr(trealtime.emulator, name) is DialogueBrain
    with pytest.raises(AttributeError, match="NoBrain"):
        getattr(trealtime.emulator, "NoBrain")  # noqa: B009


async def test_a_script_alone_falls_silent() -> None:
    assert await ScriptedBrain([]).reply(BrainRequest()) == BrainReply()


PHRASES = ("say", "repeat", "count to", "order status", "42", "weather", '"', "'", ":", "-", "/", "what is", "in Rome")


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(PHRASES)).map(" ".join))
def test_no_text_is_without_an_answer(text: str) -> None:
    request = BrainRequest(items=[user(text)], tools=[ORDER, WEATHER, HANDOFF])
    coroutine = DialogueBrain().reply(request)
    with pytest.raises(StopIteration) as finished:
        coroutine.send(None)  # it waits for nothing
    assert finished.value.value.parts


# ---- the app asks in a system message -------------------------------------------------------------------------------


def system(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}


@pytest.mark.parametrize(
    "told, answer",
    [
        ("Please introduce yourself to the user.", "I am Nova."),
        ('Say "The call is recorded."', "The call is recorded."),
        ("Count to three", "1, 2, 3."),
    ],
)
async def test_a_newest_system_message_that_asks_for_something_is_answered(told: str, answer: str) -> None:
    nova = "You are Nova."
    assert await words(system(told), instructions=nova) == answer
    assert await words(user("hello"), assistant("Hello!"), system(told), instructions=nova) == answer


async def test_a_system_message_may_ask_for_a_function() -> None:
    assert await calls(user("hello"), system("Look up the order status of 7"), tools=[ORDER]) == [
        ("order_status", {"order_id": 7})
    ]
    told = (system("Look up the order status of 7"), called("order_status"), output("shipped"))
    assert await words(*told, tools=[ORDER]) == "The order status is shipped."


async def test_a_system_message_that_asks_for_nothing_is_context() -> None:
    context = system("The caller lives in Bern.")
    assert await words(user("what is 1 plus 1"), context) == "1 plus 1 is 2."
    assert await words(context, instructions="You are Nova.") == "Hello! I am Nova."
    assert await words(system("count to 3"), user("what is 1 plus 1")) == "1 plus 1 is 2."


# ---- messages without end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", ["9" * 20_000, "my " * 300_000, "say " * 300_000, "(" * 300_000, "1+" * 300_000])
async def test_of_a_message_without_end_the_beginning_is_read(rest: str) -> None:
    assert await words(user(f"count to 2, {rest}")) == "1, 2."
    assert await words(user(rest))


async def test_an_echo_is_whole() -> None:
    long = "bla " * 5_000 + "end"
    assert await words(user(long)) == f"You said: {long}"
    assert await words(user(f"Repeat after me: {long}")) == long


async def test_a_long_conversation_is_read_from_its_end() -> None:
    items = [user("My name is Martha."), *(user("The rain is loud.") for _ in range(5_000)), user("What is my name?")]
    assert await words(*items) == "You have not told me your name yet."
    assert await words(*items[:100], user("What is my name?")) == "Your name is Martha."


async def test_a_number_of_a_thousand_digits_is_no_argument() -> None:
    assert await words(user(f"order status {'9' * 1_000}"), tools=[ORDER]) == "What is the order id?"
