"""A consumer replica: from settings to a Serve deployment. The only Ray imports of a consumer."""
