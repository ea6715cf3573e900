"""From the user's folder to numbers: photos, the dataset index, splits, augmentation, the photo store."""
