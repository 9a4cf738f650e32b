"""A function that says whether a text is JSON to PostgreSQL; it has one of its own since 16."""

from alembic import op

revision = "0025"
down_revision = "0024"

# What `pg_input_is_valid` says no to in 16 is an error of one of these classes in 15.
_OF_15 = """
CREATE FUNCTION is_jsonb(given text) RETURNS boolean LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
    RETURN CAST(given AS jsonb) IS NOT NULL;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN false;
END $$
"""
# PostgreSQL puts it into the query that calls it, so that it costs nothing.
_OF_16 = """
CREATE FUNCTION is_jsonb(given text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT pg_input_is_valid(given, 'jsonb')
$$
"""
_SERVER = "SELECT current_setting('server_version_num')::integer >= 160000"


def upgrade() -> None:
    """Add it. A server that is upgraded later keeps the one of 15, which is slower and as right."""
    is_16 = op.get_bind().exec_driver_sql(_SERVER).scalar_one()
    op.execute(_OF_16 if is_16 else _OF_15)
