"""The command ``headrace models``: fetches, lists, checks and converts weights."""
