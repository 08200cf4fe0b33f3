"""What the edge answers, one file a protocol."""
