"""Stand-ins for Stripe, Vapi and Slack over real HTTP, so that everything runs offline.

They keep the providers' contracts, quirks included, and misbehave when told to
(`/_control/faults`).
"""
