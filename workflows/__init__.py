"""Sequence and waiting: one file per process. What touches the world is an activity."""
