"""Dead letters: which there are, which were dealt with, replaying them, and clearing them away."""
