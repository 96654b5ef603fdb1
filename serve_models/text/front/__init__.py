"""What is around the model: reading requests and writing answers, in processes of their own."""
