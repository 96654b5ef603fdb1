"""Request and result bodies in an object store."""
