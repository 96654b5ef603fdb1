"""The console: a page, its events and a JSON API, served by an application of its own."""
