"""Request and result bodies that lie in an object store."""
