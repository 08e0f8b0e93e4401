"""What a connection was told, and what it has not taken."""

from __future__ import annotations

import random

import pytest

from trealtime._core.told import ToldItems


@pytest.mark.parametrize("seed", range(200))
def test_telling_comes_to_an_end_and_all_that_the_server_takes_is_there(seed: int) -> None:
    """Whichever items the server refuses, and whichever of its acknowledgements are lost."""
    rng = random.Random(seed)
    names = [str(number) for number in range(rng.randint(1, 8))]
    refuses = {name for name in names if rng.random() < 0.4}
    losses = rng.choice([0.0, 0.0, 0.5])
    told, server = ToldItems(), list[str]()
    waiting: list[tuple[str, str | None]] = list(zip(names, [None, *names], strict=False))
    for name, before in waiting:
        told.tell(name, before)
    rounds = 0
    while waiting:
        rounds += 1
        assert rounds < 200
        name, before = waiting.pop(0)
        if name not in refuses and (before is None or before in server):
            server.insert(0 if before is None else server.index(before) + 1, name)
            if rng.random() >= losses:
                told.confirm(name)
        elif told.refuse(name):
            place = told.place_of(name)
            told.tell(name, place)
            waiting.append((name, place))
    if not losses:
        assert server == [name for name in names if name not in refuses]
        assert {name for name in names if told.refused(name)} == refuses
    assert set(server) <= set(names) - refuses
    assert len(set(server)) == len(server)


@pytest.mark.parametrize("confirmed", [True, False])
def test_items_that_change_places_follow_each_other_once(confirmed: bool) -> None:
    told = ToldItems()
    for item_id, before in (("a", None), ("b", "a"), ("a", "b")):
        told.tell(item_id, before)
        if confirmed:
            told.confirm(item_id)
    assert told.last_after("b", present=("a", "b")) == "a"
    assert told.last_after("b") == ("b" if confirmed else "a")
