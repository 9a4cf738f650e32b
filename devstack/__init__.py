"""An offline world on one machine: real servers, stand-in providers, and their supervisor."""
