"""Models of the user: a class with ``infer``, or one that answers batches."""
