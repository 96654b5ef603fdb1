"""The wire: requests, results, dead letters, headers and the settings file.

Everything here is pydantic, orjson and the standard library, so that any process may import it.
"""
