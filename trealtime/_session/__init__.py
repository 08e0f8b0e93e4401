"""The session: the nursery around a conversation, with its tasks, queues and subscriptions; and the runner that makes
sessions."""
