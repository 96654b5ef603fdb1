"""Which files an input has, what they hold, and whether they are still the same."""
