"""Figures for operators: success rates, and what waits."""
