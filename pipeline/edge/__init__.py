"""The edge stage: frames in, browsers out."""
