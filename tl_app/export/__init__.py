"""A run taken out of the app: files that answer as it does, and the proof that they do."""
