"""Reading a route's requests topic: fetching, committing, where to begin."""
