"""What people are told of billing as a whole: one alert when it goes wrong, one when it is over.

Every alarm has two marks: it is raised beyond the one, and over only within the other, which is
better. Between them nothing is said, so that what wavers around a mark is told once.
"""
