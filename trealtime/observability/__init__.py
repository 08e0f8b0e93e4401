"""Telemetry of sessions for OpenTelemetry: spans and metrics. Only `settings` is imported without it."""
