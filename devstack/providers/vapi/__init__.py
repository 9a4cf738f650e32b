"""The stand-in for Vapi."""
