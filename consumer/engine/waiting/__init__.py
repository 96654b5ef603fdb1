"""What a consumer waits for, and whether it stalls."""
