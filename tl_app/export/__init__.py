"""Taking a model out of the app: files that prove themselves, and reading them back."""
