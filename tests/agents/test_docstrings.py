from __future__ import annotations

import pytest

from trealtime.agents.docstrings import parse_docstring


@pytest.mark.parametrize("text", [None, "", "   "])
def test_no_docstring_documents_nothing(text) -> None:
    assert parse_docstring(text).description == ""
    assert parse_docstring(text).parameters == {}


def test_prose_ends_at_the_first_section_and_entries_join_their_lines() -> None:
    parsed = parse_docstring(
        """Book a table.

        Only for today.

        Args:
            guests (int, optional): How many: adults
                and children.
            *notes: Anything else.
            when:
                An hour,
                like 19:30.

        Raises:
            ValueError: never shown.
        """
    )
    assert parsed.description == "Book a table.\n\nOnly for today."
    assert parsed.parameters == {
        "guests": "How many: adults and children.",
        "notes": "Anything else.",
        "when": "An hour, like 19:30.",
    }


def test_a_colon_at_the_end_of_a_line_of_prose_is_no_section() -> None:
    assert parse_docstring("Choose one of these:\n- red\n- blue").description == "Choose one of these:\n- red\n- blue"


def test_prose_after_a_section_that_is_not_for_models_is_left_out() -> None:
    assert parse_docstring("Do it.\n\nReturns:\n    text: a mapping").parameters == {}
