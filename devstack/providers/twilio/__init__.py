"""The stand-in for Twilio."""
