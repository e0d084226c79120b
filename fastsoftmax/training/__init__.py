"""Training: the loop, what it keeps, and schedules of the learning rate."""
