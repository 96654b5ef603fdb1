"""GPU kernels that vLLM's libraries compile at their first use. Imports no torch, no vLLM."""
