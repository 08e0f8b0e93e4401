"""Realtime voice agents for Trio."""
