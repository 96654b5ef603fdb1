"""Request bodies to texts, and a model's rows to response bodies."""
