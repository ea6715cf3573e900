"""tl-app: turn a folder of labelled photos into a classifier one can trust."""
