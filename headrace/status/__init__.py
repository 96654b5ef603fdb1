"""What a service reports of itself."""
