"""Stand-ins for Stripe, Vapi, Twilio and Slack over real HTTP, so that everything runs offline.

They keep the providers' contracts, quirks included. They fail as they are told to by
`/_control/faults`.
"""
