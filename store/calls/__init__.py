"""Calls: at the gate, in progress, and charged in sets."""
