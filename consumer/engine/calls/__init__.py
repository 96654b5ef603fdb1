"""Which records go to the model replicas, in which calls."""
