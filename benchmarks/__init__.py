"""What callwallet promises about speed, measured; `make bench` runs all of it in one go."""
