"""The accounting: money, wallets, entries, and what an audit checks."""
