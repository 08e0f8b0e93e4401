"""The session: the nursery around a conversation, with its tasks, queues and feeds; and the runner that makes
sessions."""
