"""What surrounds the pods: who may reach them, evict them and read their metrics. Pure."""
