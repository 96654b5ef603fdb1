"""A simulator of a service that scales, and other policies to compare with. Pure."""
