"""OUT: parts, the atomic end, failed rows, and answers until they are written."""
