"""The ingest stage: checks every event once, and hands it to the shard that owns its channel."""
