"""What every model replica does with a chunk of records."""
