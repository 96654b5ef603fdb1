"""What devices are good at."""
