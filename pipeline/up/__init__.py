"""`up`: a whole pipeline on one machine, started and kept running."""
