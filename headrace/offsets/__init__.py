"""A group's offsets with their completion maps: what they say, and how a person changes them."""
