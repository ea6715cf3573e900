"""How a backbone becomes a classifier for the target task: phases, learning rates, freezing."""
