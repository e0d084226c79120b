"""Training: the loop, its data, its result, and schedules of the learning rate."""
