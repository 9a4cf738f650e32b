"""Calls: at the gate, in progress, and ended."""
