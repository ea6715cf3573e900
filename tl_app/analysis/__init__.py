"""What a run's answers are worth: how often they are right, how sure they are, and of what they know nothing."""
