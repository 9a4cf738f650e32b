"""The processes, one file each: what happens in which order, and what is waited for.

Whatever touches the world outside is an activity.
"""
