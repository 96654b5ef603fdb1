"""What a job says of itself while it runs."""
