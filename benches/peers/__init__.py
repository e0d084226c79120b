"""The contenders: one way to train in each file."""
