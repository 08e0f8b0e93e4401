"""The `trealtime` command itself."""

from __future__ import annotations

import pytest

from trealtime.cli import main


@pytest.mark.parametrize("arguments", [["--no-browser"], ["--port", "0", "spare:agent", "another"]])
def test_unknown_arguments_are_refused_with_the_usage_of_their_command(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("usage: trealtime demo ")
    assert told.endswith(f"trealtime demo: error: unrecognized arguments: {arguments[-1]}\n")
