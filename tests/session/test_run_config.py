"""The run config: its keys, and the names that they had before 0.2."""

import copy
import pickle

import attrs
import pytest

from trealtime import RealtimeAgent, RealtimeRunConfig, RealtimeRunner, SettingsError
from trealtime._session.config import run_config

OLD_KEYS = {
    "feed_buffer_s": ("subscription_buffer_s", 12.0),
    "feed_buffer_events": ("subscription_buffer_events", 34),
    "feed_overflow": ("subscription_overflow", "drop_oldest_audio"),
    "outbox_events": ("send_queue_events", 56),
}


@pytest.mark.parametrize("old", OLD_KEYS)
def test_an_old_key_of_a_mapping_works_and_warns_at_the_caller(old: str) -> None:
    new, value = OLD_KEYS[old]
    with pytest.warns(DeprecationWarning, match=f"'{old}' is called '{new}'") as caught:
        RealtimeRunner(RealtimeAgent(name="A"), config={old: value})
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(run_config({old: value}), new) == value


@pytest.mark.parametrize("old", OLD_KEYS)
def test_an_old_keyword_works_can_be_read_and_warns_at_the_caller(old: str) -> None:
    new, value = OLD_KEYS[old]
    with pytest.warns(DeprecationWarning, match=f"'{old}' is called '{new}'") as caught:
        config = RealtimeRunConfig(**{old: value})
    assert [warning.filename for warning in caught] == [__file__]
    assert getattr(config, new) == value
    with pytest.warns(DeprecationWarning, match=f"'{old}' is called '{new}'") as caught:
        assert getattr(config, old) == value
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("old", OLD_KEYS)
def test_a_value_under_an_old_key_is_checked_as_under_the_new_one(old: str) -> None:
    new, _ = OLD_KEYS[old]
    with pytest.warns(DeprecationWarning, match=new), pytest.raises(SettingsError, match=new):
        run_config({old: object()})


@pytest.mark.parametrize("old", OLD_KEYS)
def test_an_old_key_beside_its_new_one_is_refused(old: str) -> None:
    new, value = OLD_KEYS[old]
    with pytest.raises(SettingsError, match=old):
        run_config({old: value, new: value})
    with pytest.raises(TypeError, match=old):
        RealtimeRunConfig(**{old: value, new: value})


def test_a_config_is_copied_compared_and_pickled_without_a_warning() -> None:
    config = RealtimeRunConfig(subscription_buffer_s=3.0)
    assert attrs.evolve(config, send_queue_events=7) == RealtimeRunConfig(
        subscription_buffer_s=3.0, send_queue_events=7
    )
    assert copy.deepcopy(config) == config == pickle.loads(pickle.dumps(config))
    assert run_config(config) == config
