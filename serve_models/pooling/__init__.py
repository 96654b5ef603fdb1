"""Text models on vLLM's pooling runner."""
