"""What was sent to models, what came back, and what it took."""
