"""A day on which everything goes away once, and what people hear of it: so much, and no more."""

from datetime import timedelta
from pathlib import Path

from billing.inbox.webhook_event import Drain
from devstack.providers.vapi.messages import report_of
from processes.drains import nudge
from tests.support import nightly_run, phone_calls
from tests.support.day import Day, away, beginning
from tests.support.eventually import eventually
from tests.support.world import RUNNING, UNPROVEN, WAITING, running_world, until
from workflows.audit_ledger import AuditLedger
from workflows.shared.options import BILLING_QUEUE

TOLD = [
    # Initech has 25.00 GBP in the morning, and then talks for 40 minutes.
    ("10:00", "medium", "The balance of initech is low: 2.88 GBP"),
    # Vapi is away from 10:03 to 10:12: it reports no call, and cannot be asked about any.
    ("10:11", "medium", "24 parked as fault"),
    (
        "10:12",
        "high",
        "Only 0.00 % of the calls that ended were reported by a webhook"
        " (less than 95 % for 15 minutes)",
    ),
    ("10:12", "info", "Nothing is parked as fault any more"),
    ("11:00", "medium", "The balance of initech is at 80 % of the debt limit: -4.31 GBP"),
    ("12:00", "info", "100.00 % of the calls that ended were reported by a webhook again"),
    # Stripe cannot be asked about payments from 12:03 to 12:12.
    ("12:11", "medium", "5 parked as fault"),
    ("12:12", "info", "Nothing is parked as fault any more"),
    # PostgreSQL is away at 14:05.
    ("14:05", "critical", "PostgreSQL does not answer …"),
    ("14:05", "info", "PostgreSQL answers again, …"),
    # Slack is away from 15:55 to 16:06: what came up at 16:00 is told then.
    ("16:06", "high", "The balance of initech is at the debt limit: -5.00 GBP"),
    ("17:00", "info", "The balance of initech is well again: 44.44 GBP"),
    # The reports that Vapi lost altogether.
    ("03:00", "info", "8 recovered by the reconciliation with Vapi"),
]
# The watch tells it past the outbox, which is away itself.
PAST_THE_OUTBOX = "PostgreSQL does not answer …"
KNOWN = "SELECT count(*) FROM calls_in_progress"
CHARGED = "SELECT count(*) FROM ledger_entries WHERE kind = 'call'"
ENTRIES = "SELECT key, amount_minor FROM ledger_entries WHERE kind = :kind ORDER BY key"
RAISED = "SELECT count(*) FROM alarms WHERE raised"
OUTBOX = "SELECT level, title FROM alerts ORDER BY alert_id"
# A fault heals by itself, or is told after five minutes.
PATIENCE = timedelta(minutes=6)


async def test_a_day_with_four_outages_gives_exactly_these_alerts_and_costs_nobody_a_penny(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path / "state") as world, beginning(world) as day:
        await morning(day)
        await vapi_is_away(day)
        await late_morning(day)
        await stripe_is_away(day)
        await business(day, "13:55", "14:00")
        await postgresql_is_away(day)
        await slack_is_away(day)
        await evening(day)
        await night(day)
        assert day.alerted == TOLD
        await nothing_is_left(day)
        await the_books_are_exact(day)


async def business(day: Day, at: str, then: str) -> None:
    """Let an hour's business be done, and the watch look a little later."""
    await day.becomes(at)
    await day.all_goes_on()
    await day.becomes(then)
    await day.round()


async def morning(day: Day) -> None:
    """A night without calls, a healthy hour, and a long talk of Initech's."""
    await nightly_run.run(day.world)
    await day.becomes("07:00")
    for tenant in day.tenants:
        await day.tops_up(tenant, 20_000)
    await day.tops_up(day.poor, 2500)
    await day.is_credited()
    await business(day, "07:55", "08:00")
    await day.becomes("09:55")
    await day.all_goes_on()
    await day.calls_are_reported(1, day.poor, seconds=2400)
    await day.becomes("10:00")
    await day.round()


async def vapi_is_away(day: Day) -> None:
    """Of most calls it says only that they have ended, of some nothing; it answers nobody."""
    await day.becomes("10:03")
    async with away(day.world.stack.vapi_url):
        half_told = day.end_calls(24)
        day.end_calls(8)
        await day.only_their_end_is_sent(half_told)
        await until("calls that are known", 24, lambda: day.world.scalar(KNOWN))
        await day.becomes("10:05")
        await nudge(day.world.temporal, Drain.INBOX)
        await day.until_faults(24)
        await day.round()
        await day.look_ahead(PATIENCE)
    await day.becomes("10:12")
    await day.reprocess_faults("Vapi is back")
    await day.round()


async def late_morning(day: Day) -> None:
    """All is well again, but for Initech's wallet."""
    await day.becomes("10:55")
    await day.all_goes_on()
    await day.calls_are_reported(1, day.poor, seconds=780)
    await day.becomes("11:00")
    await day.round()
    await business(day, "11:55", "12:00")


async def stripe_is_away(day: Day) -> None:
    """Customers pay and its events come, but it does not show what they are about."""
    await day.becomes("12:03")
    async with away(day.world.stack.stripe_url, method="GET"):
        for number in range(5):
            await day.tops_up(day.tenants[number % 2], 3000)
        await day.until_faults(5)
        await day.becomes("12:05")
        await day.round()
        await day.look_ahead(PATIENCE)
    await day.becomes("12:12")
    await day.reprocess_faults("Stripe is back")
    await day.is_credited()
    await day.round()


async def postgresql_is_away(day: Day) -> None:
    """Calls are reported twice and a customer pays meanwhile; nobody has to help afterwards."""
    await day.becomes("14:05")
    world, reported = day.world, day.end_calls(24)
    charged = await world.scalar(CHARGED) + len(reported)
    await world.stack.postgres.stop()
    watching = await day.begin_round()
    reports = world.webhooks(report_of(call.shown(), call.ended) for call in reported)
    await day.sends(world.webhook_url, reports * 2)
    await day.tops_up(day.tenants[0], 2500)
    await eventually(lambda: day.slack.messages("PostgreSQL does not answer"))
    await day.note_what_slack_has()
    await world.stack.postgres.start()
    await watching.result()
    await day.note_alerts()
    await until("charges", charged, lambda: world.scalar(CHARGED))
    await day.is_credited()
    await day.until_faults(0)
    await day.becomes("14:20")
    await day.round()


async def slack_is_away(day: Day) -> None:
    """Initech reaches its debt limit, and its next call waits; health tells that nobody hears."""
    await day.becomes("15:55")
    await day.all_goes_on()
    heard = list(day.alerted)
    async with away(day.world.stack.slack_url):
        await day.calls_are_reported(1, day.poor, seconds=74)
        await day.calls_are_reported(1, day.poor)
        await day.becomes("16:00")
        await (await day.begin_round()).result()
        await eventually(lambda: health_is(day, "ok"))
        await day.becomes("16:06")
        await eventually(lambda: health_is(day, "degraded"))
        await day.note_what_slack_has()
        assert day.alerted == heard
    await day.note_alerts()
    await eventually(lambda: health_is(day, "ok"))


async def evening(day: Day) -> None:
    """Initech pays, and then nothing happens any more."""
    await day.becomes("16:55")
    await day.all_goes_on()
    await day.tops_up(day.poor, 5000)
    await day.is_credited()
    await until("the call that waited", len(day.calls) - 8, lambda: day.world.scalar(CHARGED))
    for hour in ("17:00", "18:00", "21:00", "00:00", "02:59"):
        await day.becomes(hour)
        await day.round()


async def night(day: Day) -> None:
    """The reconciliation finds what nobody has heard of, and the audit nothing."""
    await day.becomes("03:00")
    report = await nightly_run.run(day.world)
    assert (report.total.missing, report.total.recovered) == (8, 8)
    await day.round()
    audit = await day.world.temporal.execute_workflow(
        AuditLedger.run, id="audit-ledger/story", task_queue=BILLING_QUEUE
    )
    assert audit.flaws == ()
    await day.note_alerts()


async def nothing_is_left(day: Day) -> None:
    """No alarm is raised, no work waits, and the outbox says the same as Slack."""
    world = day.world
    assert await world.scalar(RAISED) == 0
    assert await world.count('BillingState="parked"') == 0
    assert await world.count(RUNNING) == 0
    assert await world.scalar(WAITING) == 0
    outbox = [(level, day.comparable(title)) for level, title in await world.rows(OUTBOX)]
    assert outbox == [(level, what) for _, level, what in TOLD if what != PAST_THE_OUTBOX]


async def the_books_are_exact(day: Day) -> None:
    """Every call, text and payment is in the ledger once, and nothing else."""
    world = day.world
    costs = await phone_calls.costs(world, [call.shown() for call in day.calls])
    assert await world.rows(ENTRIES, kind="call") == sorted(costs.items())
    paid = {f"payment:{payment}:credit": minor for payment, minor in day.payments.items()}
    assert await world.rows(ENTRIES, kind="topup") == sorted(paid.items())
    sent = await world.rows(ENTRIES, kind="sms")
    assert sorted(pence for _, pence in sent) == sorted(text.pence for text in day.texts)
    assert await world.scalar(UNPROVEN) == 0


async def health_is(day: Day, wanted: str) -> bool:
    """Whether that is how all is, and how the telling of alerts is."""
    shown = (await day.world.http.get("/health")).json()
    return (shown["status"], shown["services"]["alerts"]) == (wanted, wanted)
