"""What a model replica counts of its work. No Ray: an adapter exports it."""
