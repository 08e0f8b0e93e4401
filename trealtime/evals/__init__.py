"""Conversations with an agent, written down as scenarios and checked; ``python -m trealtime eval`` runs them."""

from trealtime.evals.reading import read_scenarios
from trealtime.evals.report import junit_report, text_report
from trealtime.evals.running import ScenarioResult, StepResult, run_scenario
from trealtime.evals.scenario import Expectation, Mock, Scenario, Step
from trealtime.evals.virtual_time import run_in_virtual_time

__all__ = [
    "Expectation",
    "Mock",
    "Scenario",
    "ScenarioResult",
    "Step",
    "StepResult",
    "junit_report",
    "read_scenarios",
    "run_in_virtual_time",
    "run_scenario",
    "text_report",
]
