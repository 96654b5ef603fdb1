"""What a service does now, as one typed snapshot: the console, `top` and `status` show it."""
