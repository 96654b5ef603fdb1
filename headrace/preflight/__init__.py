"""What would keep a service from starting, found before anything starts."""
