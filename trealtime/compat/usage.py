"""Token usage. ``usage.input_tokens_details.cached_tokens`` reads as in the SDK."""

from trealtime.usage import InputTokensDetails, OutputTokensDetails, Usage

__all__ = ["InputTokensDetails", "OutputTokensDetails", "RequestUsage", "Usage"]

RequestUsage = Usage
"""The usage of one response has the class of a sum."""
