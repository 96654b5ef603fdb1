"""Text files as lines of UTF-8, whatever their compression and encoding."""
