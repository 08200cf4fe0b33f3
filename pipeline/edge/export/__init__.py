"""A scan as a file: JSON, NDJSON, CSV and a report in HTML. Pure; `handlers.export` sends them."""
