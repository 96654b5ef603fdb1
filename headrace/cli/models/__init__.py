"""The command ``headrace models``: fetches, lists and checks weights."""
