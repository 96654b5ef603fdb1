"""`headrace doctor`: what is wrong around a service, each finding with its fix."""
