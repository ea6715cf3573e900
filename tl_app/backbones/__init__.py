"""The catalogue of pretrained networks, their weights, and the split of each one at a stage boundary.

`catalogue` says what there is, `weights` fetches and loads, `staged` builds and splits; `families` holds the
list of stages of each family as data. Importing this package alone imports no torch.
"""
