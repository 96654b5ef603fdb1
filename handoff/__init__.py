"""What passes between consumers and model replicas, and the rules of flow that both share."""
