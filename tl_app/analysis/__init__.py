"""What numbers of a run mean: findings, comparisons, and how sure one can be of them."""
