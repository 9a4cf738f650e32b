"""Every side effect: one class for each thing outside, with its client given to the constructor."""
