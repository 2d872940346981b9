"""Serving the application with waitress, in one process or several."""
