"""The wire: request lines, result lines and headers, as the service's schemas have them."""
