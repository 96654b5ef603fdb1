"""Commands that publish or read records: submit, results, cancel, schema."""
