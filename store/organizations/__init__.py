"""Organisations, what belongs to them, and their keys."""
