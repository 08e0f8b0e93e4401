"""Audio endpoints: where the user's voice comes from and where the agent's goes (``session.attach``)."""
