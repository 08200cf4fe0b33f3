"""Small commands for who runs the pipeline: each looks at it or prepares it, none is a stage of it."""
