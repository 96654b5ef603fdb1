"""What listeners are sent."""
