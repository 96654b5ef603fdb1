"""The asyncio shell around the engine."""
