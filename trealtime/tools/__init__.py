"""Function tools: schema, docstring, invocation, output, guardrails."""
