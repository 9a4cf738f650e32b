"""The database itself: connections, migrations, errors, and many rows in one statement."""
