"""LoRA adapters of a generator: their checkpoints, the room for them, and those that are loaded."""
