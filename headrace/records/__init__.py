"""Request files, and records published and read from outside the service."""
