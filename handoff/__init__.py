"""What passes between callers and model replicas, and the flow rules that both sides share."""
