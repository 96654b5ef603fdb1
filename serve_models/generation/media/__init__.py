"""Pictures, sound and video in generation requests: from where, and how large."""
