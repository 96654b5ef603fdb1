"""Records on topics: requests, results, dead letters, control records, headers."""
