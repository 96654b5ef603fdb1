"""What the service is held against; each runs without any code of the service's."""
