"""Where the console's facts come from, and where its actions go."""
