"""The notify process: tells others, by webhooks, how scans end, fail, stall, and what grave they find."""
