"""Charges of saved cards: attempts, and what customers and operators have set."""
