"""The Realtime wire protocol: events, codec, settings. Pure: no Trio, no socket, no clock."""
