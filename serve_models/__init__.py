"""Models on Ray Serve: replicas that take chunks of request lines and stream outcomes back."""
