"""Large bodies in a directory, S3 or what else fsspec supports."""
