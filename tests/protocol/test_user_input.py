"""Messages in any form become wire items, or an error that names the part."""

import base64

import pytest

from trealtime.errors import SettingsError
from trealtime.protocol.user_input import (
    AudioPart,
    ImagePart,
    TextPart,
    UserMessage,
    image_part,
    input_items,
    message_item,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
JPEG = b"\xff\xd8\xff\xe0" + bytes(8)
PNG_URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


def problems(message):
    with pytest.raises(SettingsError) as caught:
        message_item(message)
    return {problem.path: problem.allowed for problem in caught.value.problems}


def user(*content, **more):
    return {"type": "message", "role": "user", "content": list(content), **more}


def text(words):
    return {"type": "input_text", "text": words}


@pytest.mark.parametrize("words", ["hi", ""])
def test_b066_a_string_is_one_text_part_of_the_user(words):
    assert message_item(words) == user(text(words))


def test_b067_parts_of_a_mapping_are_kept_in_order():
    image = {"type": "input_image", "image_url": PNG_URI, "detail": "low"}
    message = user(text("a"), image, text("b"))
    assert message_item(message) == message
    assert message_item({"role": "user", "content": [text("a")]}) == user(text("a"))
    assert message_item({"content": "a", "id": "item_9"}) == user(text("a"), id="item_9")
    assert message_item(user()) == user()


def test_a_detail_or_another_field_of_none_is_left_out():
    assert message_item(user({"type": "input_image", "image_url": PNG_URI, "detail": None})) == user(
        {"type": "input_image", "image_url": PNG_URI}
    )


def test_a_typed_message_becomes_its_wire_parts():
    message = UserMessage([TextPart("a"), ImagePart(PNG_URI, "high"), ImagePart(PNG_URI), AudioPart(b"\0\0", "oh")])
    assert message_item(message, item_id="item_1") == user(
        text("a"),
        {"type": "input_image", "image_url": PNG_URI, "detail": "high"},
        {"type": "input_image", "image_url": PNG_URI},
        {"type": "input_audio", "audio": "AAA=", "transcript": "oh"},
        id="item_1",
    )


def test_typed_parts_may_stand_in_a_mapping():
    assert message_item(user(TextPart("a"))) == user(text("a"))


def test_the_system_and_the_assistant_have_text_of_their_own_kind():
    assert message_item("x", role="system") == {"type": "message", "role": "system", "content": [text("x")]}
    told = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    assert message_item("x", role="assistant") == told
    assert message_item(UserMessage([TextPart("x")], role="assistant")) == told
    assert message_item({"role": "assistant", "content": "x"}) == told


def test_an_id_of_the_message_stays():
    assert message_item(user(id="mine"), item_id="yours")["id"] == "mine"


def test_every_wrong_part_is_named_with_its_place_and_what_is_allowed():
    found = problems(
        user(
            text("fine"),
            {"type": "input_video", "url": "x"},
            {"type": "input_text"},
            {"type": "input_text", "text": None},
            {"type": "input_image", "image_url": ""},
            {"type": "input_image", "image_url": "http://example.org/cat.png"},
            {"type": "input_image", "image_url": PNG_URI, "detail": "huge"},
            {"type": "input_audio", "audio": ""},
            "words",
            {"type": "output_text", "text": "x"},
        )
    )
    assert list(found) == [
        "content[1].type",
        "content[2].text",
        "content[3].text",
        "content[4].image_url",
        "content[5].image_url",
        "content[6].detail",
        "content[7].audio",
        "content[8]",
        "content[9].type",
    ]
    assert found["content[1].type"] == "'input_text', 'input_image', 'input_audio'"
    assert found["content[5].image_url"].startswith("a data URI with a PNG or JPEG")


@pytest.mark.parametrize(
    "message, path",
    [
        ({"type": "function_call", "content": []}, "type"),
        ({"role": "user"}, "content"),
        ({"role": "user", "content": 4}, "content"),
        ({"role": "narrator", "content": []}, "role"),
        ({"role": ["user"], "content": []}, "role"),
        (UserMessage([ImagePart("cat.png")]), "content[0].image_url"),
        (UserMessage([ImagePart(PNG_URI)], role="system"), "content[0].type"),
        (UserMessage([AudioPart(b"")]), "content[0].audio"),
        (7, "message"),
        (None, "message"),
    ],
)
def test_a_wrong_message_is_refused(message, path):
    assert list(problems(message)) == [path]


def test_items_are_valid_by_the_schema(schema):
    items = [
        message_item("hi", item_id="item_1"),
        message_item(UserMessage([TextPart("a"), image_part(PNG, detail="auto"), AudioPart(b"\0\0")])),
        message_item("x", role="system"),
        message_item("x", role="assistant"),
    ]
    for item in items:
        assert schema.validate("client", {"type": "conversation.item.create", "item": item}) == []


def test_an_image_is_known_by_its_first_bytes(tmp_path):
    assert image_part(PNG) == ImagePart(PNG_URI)
    assert image_part(JPEG, detail="low") == ImagePart(
        "data:image/jpeg;base64," + base64.b64encode(JPEG).decode(), detail="low"
    )
    path = tmp_path / "misnamed.jpg"
    path.write_bytes(PNG)
    assert image_part(path) == image_part(str(path)) == ImagePart(PNG_URI)


@pytest.mark.parametrize("data", [b"GIF89a", b"", b"\x89PN"])
def test_an_image_of_another_kind_is_refused(data):
    with pytest.raises(SettingsError, match="allowed: the bytes of a PNG or JPEG file"):
        image_part(data)


def test_input_of_a_response_is_one_message_or_several_items():
    reference = {"type": "item_reference", "id": "item_1"}
    assert input_items("hi") == [user(text("hi"))]
    assert input_items([reference, "hi", UserMessage([TextPart("a")])]) == [
        reference,
        user(text("hi")),
        user(text("a")),
    ]
    assert input_items([]) == []
    with pytest.raises(SettingsError, match=r"content\[0\]\.type"):
        input_items([{"role": "user", "content": [{"type": "nonsense"}]}])


@pytest.mark.parametrize("message", ["a\ud800b", {"content": [{"type": "input_text", "text": "\udfff"}]}])
def test_text_that_utf_8_cannot_carry_is_refused_where_it_was_given(message):
    with pytest.raises(SettingsError, match=r"content\[0\].text: .*lone surrogates"):
        message_item({"role": "user", **message} if isinstance(message, dict) else message)
