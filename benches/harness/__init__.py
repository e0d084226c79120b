"""What times contenders by turns, each in a process of its own, and checks their results."""
