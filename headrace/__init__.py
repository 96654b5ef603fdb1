"""The composition root: settings to Serve application, and the ``headrace`` command."""
