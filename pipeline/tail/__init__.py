"""`tail`: prints a pipeline's events as they pass; a plain ZeroMQ subscriber of every shard."""
