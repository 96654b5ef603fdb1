"""Publishing to reply topics, of which any may be missing, forbidden or still."""
