"""What a deployment waits for while it starts."""
