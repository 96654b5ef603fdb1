"""What passes between callers and model replicas, and the rules of flow that both sides share."""
