"""An in-memory broker behind the same ports, for tests, simulations and trying things out."""
