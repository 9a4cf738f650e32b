"""Every side effect: one class per outside thing, its client given by the constructor."""
