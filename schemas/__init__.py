"""What stands on topics and in the settings file; pydantic, orjson and the standard library."""
