"""All SQL, and only SQL: functions that take a connection and return domain values."""
