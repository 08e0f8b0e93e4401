"""A few calls with telemetry: spans on demand, and metrics as Prometheus reads them.

    python examples/observed.py                four calls on an emulator, then what a dashboard would show
    python examples/observed.py --port 9464    stay, and serve http://127.0.0.1:9464/metrics for Prometheus

Needs: pip install 'trealtime[otel]' opentelemetry-exporter-prometheus

`examples/observed-dashboard.json` is a dashboard for Grafana over these metrics. With OPENAI_API_KEY it talks to
OpenAI's service; without, to an emulator in this process.
"""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import trio
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.metrics_core import Metric

import trealtime
from trealtime import RealtimeAgent, RealtimeRunner, TrealtimeError, function_tool, open_emulator
from trealtime.settings import ModelConfigDict

QUESTIONS = ("Say hello.", "Where is order 1234? Please call order_status.", "What is 2 plus 3?")
CALLS = 4


@function_tool
async def order_status(order_id: int) -> str:
    """Look up an order.

    Args:
        order_id: The number printed on the receipt.
    """
    await trio.sleep(0.1)
    return f"Order {order_id} is on its way."


agent = RealtimeAgent(name="Desk", instructions="You are brief and friendly.", tools=[order_status])


async def call(runner: RealtimeRunner, connection: ModelConfigDict) -> None:
    """One caller: questions, and an interrupt in the middle of the last answer."""
    async with runner.session(model_config=connection) as session:
        for question in QUESTIONS:
            await session.ask(question)
        async with session.respond("Tell me a story.") as response:
            async for _ in response.audio:
                break
        await trio.sleep(0.5)


def named(name: str) -> Iterable[Metric]:
    return [metric for metric in REGISTRY.collect() if metric.name.startswith(name)]


def total(name: str, suffix: str, labels: Mapping[str, str] = {}) -> float:
    """The sum of the samples of a metric that have these labels."""
    return sum(
        sample.value
        for metric in named(name)
        for sample in metric.samples
        if sample.name.endswith(suffix) and labels.items() <= sample.labels.items()
    )


def percentile(name: str, share: float) -> float:
    """The bound of the bucket in which this share of the values is reached."""
    buckets: dict[float, float] = {}
    for metric in named(name):
        for sample in metric.samples:
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    wanted = share * max(buckets.values(), default=0.0)
    return next((bound for bound, count in sorted(buckets.items()) if count >= wanted), 0.0)


def show() -> None:
    """Print what the dashboard shows."""
    rows: Mapping[str, str] = {
        "Sessions open": f"{total('trealtime_sessions_open', ''):.0f}",
        "Turns": f"{total('trealtime_turns', '_total'):.0f}",
        "To the first audio, p50": f"up to {percentile('trealtime_turn_time_to_first_audio', 0.5):g} s",
        "To the first audio, p95": f"up to {percentile('trealtime_turn_time_to_first_audio', 0.95):g} s",
        "Tool calls": f"{total('gen_ai_execute_tool_duration', '_count'):.0f}",
        "Tokens in": f"{total('gen_ai_client_token_usage', '_sum', {'gen_ai_token_type': 'input'}):.0f}",
        "Tokens out": f"{total('gen_ai_client_token_usage', '_sum', {'gen_ai_token_type': 'output'}):.0f}",
        "Errors": f"{total('trealtime_errors', '_total'):.0f}",
        "Event loop late, p95": f"up to {percentile('trealtime_event_loop_lag', 0.95) * 1000:g} ms",
    }
    for name, value in rows.items():
        print(f"{name:28} {value}")


@asynccontextmanager
async def service_or_emulator() -> AsyncIterator[ModelConfigDict]:
    """Yield how to connect: the `model_config` of a session."""
    if os.environ.get("OPENAI_API_KEY"):
        yield {}
        return
    print("No OPENAI_API_KEY: talking to an emulator, whose voice is a signal, not speech.", file=sys.stderr)
    async with open_emulator() as emulator:
        yield {"url": emulator.url, "api_key": "any"}


async def main(port: int | None) -> None:
    provider = MeterProvider(metric_readers=[PrometheusMetricReader()])
    trealtime.instrument(meter_provider=provider)  # and tracer_provider=..., with your exporter
    runner = RealtimeRunner(agent)  # runners made from here on are observed
    async with service_or_emulator() as connection, trio.open_nursery() as nursery:
        for _ in range(CALLS):
            nursery.start_soon(call, runner, connection)
    show()
    if port is not None:
        start_http_server(port, addr="127.0.0.1")
        print(f"Metrics: http://127.0.0.1:{port}/metrics (Ctrl-C ends it)")
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Calls with telemetry, and what a dashboard would show.")
    parser.add_argument("--port", type=int, help="serve the metrics there until Ctrl-C")
    try:
        trio.run(main, parser.parse_args().port)
    except* KeyboardInterrupt:
        sys.exit(130)
    except* (
        TrealtimeError,
        OSError,
        OverflowError,
    ) as group:  # OverflowError: there is no such port
        sys.exit("\n".join(dict.fromkeys(f"{type(error).__name__}: {error}" for error in group.exceptions)))
