"""What text models run on beside PyTorch: the choice, conversions, and their accuracy."""
