"""``headrace dlq``: list, replay and purge dead letters."""
