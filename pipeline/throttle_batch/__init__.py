"""The throttle-batch stage: one log and one frame budget a channel."""
