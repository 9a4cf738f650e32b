"""Whether billing goes as it should: the watch, and the worker's metrics."""
