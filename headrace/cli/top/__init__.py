"""`headrace top`: what the service does now, live."""
