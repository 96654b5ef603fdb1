"""What happens to a record after its model replica failed."""
