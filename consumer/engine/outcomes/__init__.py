"""Terminal outcomes: from a model's answer to a message that the broker acknowledged."""
