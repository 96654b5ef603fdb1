"""What is kept of a job beside OUT."""
