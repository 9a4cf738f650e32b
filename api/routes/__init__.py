"""The routes, one file and one router a noun."""
