"""Extensions of the SDK that realtime programs import."""
