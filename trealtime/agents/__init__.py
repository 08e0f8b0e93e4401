"""What users declare: agents, their tools, and the context that reaches both."""
