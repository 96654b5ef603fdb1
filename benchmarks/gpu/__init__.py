"""What a machine with an NVIDIA GPU shows of encoders and generators."""
