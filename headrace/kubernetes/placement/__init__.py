"""Which worker pods run what the settings place."""
