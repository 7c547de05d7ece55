"""The tree itself: made hidden as a skeleton, moved up, covered while nobody guards it."""
