from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.tools.docstrings import parse_docstring


@pytest.mark.parametrize("text", [None, "", "   "])
def test_no_docstring_documents_nothing(text) -> None:
    assert parse_docstring(text).description == ""
    assert parse_docstring(text).parameters == {}


GOOGLE = """Book a table.

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

NUMPY = """Book a table.

        Only for today.

        Parameters
        ----------
        guests : int, optional
            How many: adults
            and children.
        *notes
            Anything else.
        when : str
            An hour,
            like 19:30.

        Returns
        -------
        str
            Never shown.
        """

SPHINX = """Book a table.

        Only for today.

        :param int guests: How many: adults
            and children.
        :param notes: Anything else.
        :type notes: str
        :param when: An hour,
            like 19:30.
        :raises ValueError: never shown
            at all.
        :return: never shown.
        """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_b183_prose_ends_at_the_first_section_and_entries_join_their_lines(text) -> None:
    parsed = parse_docstring(text)
    assert parsed.description == "Book a table.\n\nOnly for today."
    assert parsed.parameters == {
        "guests": "How many: adults and children.",
        "notes": "Anything else.",
        "when": "An hour, like 19:30.",
    }


def test_numpy_parameters_that_share_a_line_share_their_text() -> None:
    parsed = parse_docstring("Add.\n\nParameters\n----------\na, b : int\n    A number.")
    assert parsed.parameters == {"a": "A number.", "b": "A number."}


def test_a_named_style_is_read_and_no_other() -> None:
    mixed = "Do it.\n\nArgs:\n    a: Google's.\n\n:param a: Sphinx's."
    assert parse_docstring(mixed).parameters == {"a": "Sphinx's."}  # as many marks: B183 gives the order
    assert parse_docstring(mixed, style="google").parameters == {"a": "Google's. :param a: Sphinx's."}
    assert parse_docstring(mixed, style="numpy").parameters == {}


def test_a_colon_at_the_end_of_a_line_of_prose_is_no_section() -> None:
    assert parse_docstring("Choose one of these:\n- red\n- blue").description == "Choose one of these:\n- red\n- blue"


def test_a_line_of_dashes_in_prose_is_no_section() -> None:
    assert parse_docstring("Title\n-----\ntext").description == "Title\n-----\ntext"


def test_prose_after_a_section_that_is_not_for_models_is_left_out() -> None:
    assert parse_docstring("Do it.\n\nReturns:\n    text: a mapping").parameters == {}


def test_a_parameter_without_text_is_not_documented() -> None:
    assert parse_docstring("Do it.\n\nParameters\n----------\na : int\nb : int\n    Two.").parameters == {"b": "Two."}


@given(st.text(alphabet="aP :\n-*,()param Args", max_size=80))
def test_any_text_is_read(text) -> None:
    for style in (None, "google", "numpy", "sphinx"):
        parsed = parse_docstring(text, style=style)
        assert all(name and documented for name, documented in parsed.parameters.items())
