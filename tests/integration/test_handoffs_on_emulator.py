"""Handoffs against a server that refuses what servers refuse: another voice after the first audio, for one."""

from __future__ import annotations

from typing import Any

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import realtime_handoff


async def test_a_conversation_goes_to_another_agent_and_back_without_a_refusal(autojump_clock, kit) -> None:
    billing = RealtimeAgent(
        "Billing",
        instructions="You bill.",
        voice="verse",
        handoffs=[realtime_handoff(lambda: triage, tool_name_override="transfer_to_triage", when="heard")],
        model_settings={"speed": 1.2},
    )
    triage: RealtimeAgent[Any] = RealtimeAgent("Triage", instructions="You ask.", voice="marin", handoffs=[billing])
    async with kit.talk(settings={"turn_detection": None}) as talk:
        config = {"model_settings": {"turn_detection": None}}
        runner = RealtimeRunner(triage, model=talk.runner._model, config=config)
        kinds = ("handoff", "settings_mismatch", "error")
        async with runner.session() as session, session.subscribe(*kinds) as subscription:
            assert session.settings is not None
            assert session.settings["audio"]["output"]["voice"] == "marin"
            await session.ask("Hello")
            turn = await session.ask("transfer to billing")
            assert session.current_agent is billing
            assert turn.status == "completed"
            assert "This is Billing" in turn.text
            assert session.settings["instructions"] == "You bill."
            assert session.settings["audio"]["output"]["speed"] == 1.2
            assert session.settings["audio"]["output"]["voice"] == "marin"
            await session.ask("transfer to triage")
            assert session.current_agent is triage
            assert session.settings["audio"]["output"]["speed"] == 1.0
            seen = [subscription.receive_nowait().type for _ in range(3)]
            assert seen == ["handoff", "settings_mismatch", "handoff"]
            assert subscription.statistics().events_queued == 0
