"""The Serve deployments' classes. The only Ray imports of the models."""
