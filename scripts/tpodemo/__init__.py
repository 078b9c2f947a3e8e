"""scripts/demo: what to send, how to send it, what came of it."""
