"""What a run's answers are worth, and why it gives them."""
