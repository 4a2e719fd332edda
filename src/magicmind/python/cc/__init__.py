"""Where programs look for the classes behind the API."""
