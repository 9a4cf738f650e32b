"""What a message goes over, and prices for it: what was priced as an SMS may be an MMS."""

from alembic import op

revision = "0029"
down_revision = "0028"

# Those of messages that are there stay NULL: they are SMS or MMS, by their ids.
_COLUMNS = """
ALTER TABLE sms_tariffs ADD COLUMN channel text DEFAULT 'sms';
ALTER TABLE sms_tariffs ALTER COLUMN channel DROP DEFAULT;
ALTER TABLE messages ADD COLUMN channel text
"""
# Version 0.1 knows one price of both, and may still add some: each gets its copy for MMS, as those
# that are there. An id that is taken gets a longer one.
_COPIES = """
CREATE FUNCTION mms_tariff_id(sms_tariff_id text) RETURNS text STABLE LANGUAGE sql AS $$
    SELECT CASE WHEN EXISTS
            (SELECT FROM sms_tariffs AS taken WHERE taken.sms_tariff_id = $1 || '-mms')
        THEN $1 || '-mms-' || left(md5($1), 8) ELSE $1 || '-mms' END
$$;
INSERT INTO sms_tariffs (sms_tariff_id, org_id, prefix, currency, price_minor_per_segment, fx_rate,
    wallet_currency, effective_from, channel)
SELECT mms_tariff_id(sms_tariff_id), org_id, prefix, currency, price_minor_per_segment, fx_rate,
    wallet_currency, effective_from, 'mms'
FROM sms_tariffs;
CREATE FUNCTION price_sms_and_mms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.channel := 'sms';
    INSERT INTO sms_tariffs (sms_tariff_id, org_id, prefix, currency, price_minor_per_segment,
        fx_rate, wallet_currency, effective_from, channel)
    VALUES (mms_tariff_id(NEW.sms_tariff_id), NEW.org_id, NEW.prefix, NEW.currency,
        NEW.price_minor_per_segment, NEW.fx_rate, NEW.wallet_currency, NEW.effective_from, 'mms');
    RETURN NEW;
END $$;
CREATE TRIGGER sms_tariffs_of_version_0_1 BEFORE INSERT ON sms_tariffs
    FOR EACH ROW WHEN (NEW.channel IS NULL) EXECUTE FUNCTION price_sms_and_mms()
"""


def upgrade() -> None:
    """Add the columns; copy what SMS cost to MMS, also for prices that version 0.1 adds yet."""
    op.execute(_COLUMNS)
    op.execute(_COPIES)
