"""What all routes share: problems, pages, fields, and the fast lane."""
