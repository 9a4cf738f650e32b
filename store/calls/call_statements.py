"""The statements by which calls are locked, read and recorded, any number at once."""

from sqlalchemy import ARRAY, Text, and_, bindparam, case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from billing.calls.call import CallState
from store.calls import free_call_rules
from store.database.rowset import rowset
from store.schema import calls as table
from store.schema import calls_in_progress

FINAL = [state for state in CallState if not state.waits]

_CHARGE = (
    "billed_seconds",
    "rated_minor",
    "rated_currency",
    "amount_minor",
    "currency",
    "tariff_id",
)
_KEPT_BY_THE_TABLE = ("position", "first_seen_at", "updated_at", "correction_given_up")
_seen = rowset(column for column in table.c if column.name not in _KEPT_BY_THE_TABLE)
_new = insert(table).from_select(_seen.c.keys(), select(_seen))
# A refused correction says nothing of the charge that it would correct, which stands.
_IS_CORRECTION = and_(
    _new.excluded.state == CallState.DEBT_LIMIT, _new.excluded.amount_minor.is_(None)
)
_updated = {
    column.name: case((_IS_CORRECTION, table.c[column.name]), else_=column)
    if column.name in _CHARGE
    else column
    for column in _new.excluded
    if column.name in _seen.c
}
# What is settled or discarded stays as it is, unless it is charged or corrected after all, and
# nobody has decided that it does not matter.
RECORD = _new.on_conflict_do_update(
    index_elements=["call_id"],
    set_={**_updated, "updated_at": func.now()},
    where=or_(
        table.c.state.not_in(FINAL),
        and_(
            table.c.state == CallState.SETTLED,
            table.c.correction_given_up.is_(False),
            _new.excluded.state.in_((CallState.SETTLED, CallState.DEBT_LIMIT)),
        ),
    ),
)
_FACTS = ("facts", "ended_at", "ended_reason", "provider_cost_usd")
_better = rowset((table.c.call_id, *(table.c[name] for name in _FACTS)))
RECORD_FACTS = (
    update(table)
    .values(**{name: _better.c[name] for name in _FACTS}, updated_at=func.now())
    .where(table.c.call_id == _better.c.call_id)
)
# Locks come one after another, in the same order for all, so that no two sets can deadlock.
LOCK = text("""
    SELECT pg_advisory_xact_lock(number)
    FROM (SELECT DISTINCT hashtextextended('call:' || call_id, 0) AS number
          FROM unnest(CAST(:call_ids AS text[])) AS call_id ORDER BY number) AS in_order
""")

# What is known of calls, and one row at least of each, for the time.
_given = (
    func.unnest(bindparam("call_ids", type_=ARRAY(Text)))
    .table_valued("of")
    .render_derived(name="given")
)
KNOWN = select(
    _given.c.of,
    func.now().label("now"),
    free_call_rules.ALL,
    calls_in_progress.c.cap_seconds,
    *table.c,
).select_from(
    _given.outerjoin(table, table.c.call_id == _given.c.of).outerjoin(
        calls_in_progress, calls_in_progress.c.call_id == _given.c.of
    )
)
