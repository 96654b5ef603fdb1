"""HTTP: what is asked, who may ask it, and what goes back."""
