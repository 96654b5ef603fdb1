"""The bulk job's shell: what a job is, where it stopped, and the loop around the core."""
