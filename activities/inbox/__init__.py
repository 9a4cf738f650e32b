"""The inbox: drain it, and remove the bodies that are not kept."""
