"""Terminal outcomes: from what a model answered to a message that the broker acknowledged."""
