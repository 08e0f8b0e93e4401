"""The fifty weak spots of the OpenAI Agents SDK's realtime layer, by number: the tests that show each of them fixed.

The tests stand beside those of the same rule, wherever that is; here are their names.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]

INDEX: dict[int, list[str]] = {
    1: [
        "test_weak_spot_01_a_session_that_nobody_reads_holds_a_bounded_amount",
        "test_weak_spot_01_audio_is_held_once",
        "test_the_policy_fail_raises_at_the_slow_consumer_only",
    ],
    2: [
        "test_weak_spot_02_a_consumer_that_stalls_for_a_minute_delays_nothing",
        "test_send_audio_waits_and_send_audio_nowait_drops_when_the_uplink_is_stuck",
    ],
    3: ["test_weak_spot_03_tools_one_at_a_time_hold_up_neither_reader_nor_close"],
    4: ["test_ws04_a_delta_copies_no_history"],
    5: [
        "test_ws05_nothing_grows_but_history",
        "test_half_an_hour_of_talk_stays_within_its_bounds",
    ],
    6: ["test_each_of_several_consumers_sees_everything_it_asked_for"],
    7: [
        "test_weak_spot_07_messages_have_a_longest_size_by_default",
        "test_a_loss_is_told_once_and_says_all_there_is_to_know",
    ],
    8: ["test_weak_spot_08_a_program_that_only_sends_learns_of_the_loss"],
    9: ["test_weak_spot_09_what_was_queued_comes_before_the_loss"],
    10: [
        "test_weak_spot_10_neither_a_broken_message_nor_a_new_event_ends_a_session",
        "test_ws10_an_event_newer_than_us_is_no_error",
    ],
    11: ["test_weak_spot_11_a_tool_that_raises_is_told_to_the_model_and_the_talk_goes_on"],
    12: ["test_weak_spot_12_a_failing_close_strands_nobody_and_is_told"],
    13: ["test_weak_spot_13_14_nothing_outlives_the_block"],
    14: ["test_weak_spot_13_14_nothing_outlives_the_block"],
    15: ["test_weak_spot_15_a_tool_may_close_the_session_it_runs_in"],
    # Reconnecting has an issue of its own; the typed outcome and a history that can be told again are here.
    16: ["test_weak_spot_16_an_expired_session_says_so_and_another_can_go_on_from_its_history"],
    17: ["test_weak_spot_17_the_body_begins_when_the_settings_are_acknowledged"],
    18: [
        "test_weak_spot_18_one_runner_serves_many_calls_at_once",
        "test_two_sessions_of_one_runner_share_nothing",
    ],
    19: [
        "test_weak_spot_19_audio_and_its_commit_go_as_one",
        "test_calls_wait_for_a_stuck_peer_until_the_keep_alive_finds_it_out",
        "test_leaving_a_stuck_peer_takes_the_close_timeout_and_raises_nothing",
    ],
    20: [
        "test_weak_spot_20_an_interrupt_stops_the_model_also_with_server_vad",
        "test_ws20_an_interrupt_by_the_app_stops_the_model_with_any_settings",
    ],
    21: [
        "test_ws21_no_audio_of_a_response_follows_its_interrupt",
        "test_after_an_interrupt_no_audio_of_that_response_comes_from_any_feed",
    ],
    22: ["test_ws22_an_interrupt_before_playback_begins_cuts_at_zero"],
    23: ["test_ws23_the_position_follows_playback_not_arrival", "test_barge_in"],
    24: [
        "test_ws24_speech_long_after_playback_interrupts_nothing",
        "test_speech_after_playback_is_over_interrupts_nothing",
    ],
    25: ["test_ws25_speech_before_the_first_audio_cancels_the_response"],
    26: ["test_ws26_times_of_input_audio_say_nothing_about_playback"],
    27: [
        "test_ws27_an_interrupt_between_create_and_created_is_not_lost",
        "test_weak_spot_27_an_interrupt_before_the_response_exists_stops_it",
    ],
    28: ["test_ws28_positions_are_rounded_one_way_everywhere"],
    29: ["test_threads_lose_no_time"],
    30: [
        "test_ws30_queued_audio_is_purged_before_the_interrupt_is_told",
        "test_weak_spot_02_a_consumer_that_stalls_for_a_minute_delays_nothing",
    ],
    31: [
        "test_ws31_a_request_that_races_a_response_of_the_servers_is_not_forgotten",
        "test_weak_spot_31_no_answer_is_lost_when_the_server_begins_one_by_itself",
    ],
    32: [
        "test_ws32_out_of_band_responses_run_next_to_the_others",
        "test_an_out_of_band_response_next_to_a_default_one",
    ],
    33: ["test_ws33_a_cancel_that_came_too_late_is_known_for_what_it_is"],
    34: [
        "test_ws34_the_end_of_a_response_says_how_it_ended",
        "test_weak_spot_34_a_turn_says_how_it_ended",
    ],
    35: ["test_ws35_items_are_in_the_servers_order_whatever_kind_they_are"],
    36: ["test_ws36_a_status_never_goes_back_and_done_completes_an_item"],
    37: ["test_ws37_a_truncation_concerns_the_item_that_it_names_and_fetches_nothing"],
    38: ["test_ws38_history_claims_no_more_than_was_heard", "test_barge_in"],
    39: ["test_ws39_parts_of_an_item_are_kept_apart"],
    40: [
        "test_ws40_images_shift_no_index",
        "test_ws40_a_burst_of_messages_with_images_keeps_them_all",
    ],
    41: ["test_ws41_failed_and_partial_transcriptions_are_told_and_text_grows_in_history"],
    42: [
        "test_ws42_items_can_be_created_retrieved_truncated_and_deleted",
        "test_items_are_made_placed_retrieved_cut_and_deleted",
    ],
    43: [
        "test_b250_all_hooks_are_called_in_the_order_of_what_happened",
        "test_b218_output_guardrails_get_what_the_tool_gave_and_may_withhold_it",
        "test_a_tool_at_its_own_limit_does_not_hold_up_others",
        "test_an_agent_brings_its_voice_and_settings_to_the_opening",
        "test_a_turn_is_answered_by_the_session_after_its_check",
    ],
    44: [
        "test_b234_short_answers_and_tails_are_checked_at_the_end_of_their_item",
        "test_b237_guardrails_run_side_by_side_and_report_in_their_order",
        "test_a_sync_guardrail_runs_in_a_thread",
    ],
    45: ["test_b240_a_trip_stops_the_answer_and_the_model_is_asked_again"],
    46: [
        "test_a_refused_update_leaves_both_sides_with_the_old_agent",
        "test_of_two_handoffs_of_one_response_the_first_wins",
    ],
    47: ["test_updates_that_cross_are_made_one_after_the_other"],
    48: [
        "test_only_what_differs_between_the_agents_is_sent_and_settings_go_back",
        "test_after_audio_another_voice_is_not_sent_and_the_app_is_told",
        "test_weak_spot_48_the_model_is_sent_once_and_never_a_default_of_ours_to_a_server_that_chose",
    ],
    49: [
        "test_all_problems_come_in_one_error_with_path_value_allowed_and_nearest",
        "test_weak_spot_49_a_format_that_is_none_of_the_three_is_refused_and_named",
    ],
    50: [
        "test_ws50_the_list_of_what_is_pending_is_the_callers_own",
        "test_ws50_a_call_that_nobody_approves_in_time_is_rejected",
        "test_b214_ws50_a_lost_connection_drops_what_is_pending",
    ],
}


def test_every_weak_spot_has_its_tests() -> None:
    there = {
        name
        for file in TESTS.rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert list(INDEX) == list(range(1, 51))
    assert [test for tests in INDEX.values() for test in tests if test not in there] == []
