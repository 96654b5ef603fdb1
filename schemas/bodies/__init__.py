"""Request and response bodies, by endpoint."""
