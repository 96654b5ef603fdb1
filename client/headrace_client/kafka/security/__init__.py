"""What connections authenticate with: passwords, certificates and tokens, as they change."""
