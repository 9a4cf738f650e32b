"""Send an API what its OpenAPI document says and what it does not, and hold it to its promises."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, ServerError
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import Interaction, ScenarioRecorder
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.schemas import BaseSchema

from billing.text import is_plain
from tests.support.signed_webhooks import VAPI_SECRETS

AnyCase = schemathesis.Case[Any]

_OTHERS_EACH_TIME = ("fuzzing", "stateful")
PHASES = ("examples", "coverage", *_OTHERS_EACH_TIME)
# Checks that cannot be made right, each with its reason.
LEFT_OUT = {
    "object_level_authorization": "each walk has one key; a stranger's own walk finds what it sees"
}
# Operations of which a request that fits its schema may be refused: what JSON Schema cannot say.
MORE_THAN_A_SCHEMA = {
    "POST /webhooks/stripe": "the body is Stripe's, and signed",
    "POST /webhooks/vapi": "the body is Vapi's",
    "POST /webhooks/twilio/sms-status": "the body is Twilio's, and signed",
    "POST /v1/organizations/{org_id}/assistants": "one id, or a number with another",
    "POST /v1/organizations/{org_id}/senders": "a number, or a Messaging Service",
    "POST /v1/organizations/{org_id}/adjustments": "in the wallet's currency; goodwill is given",
    "POST /v1/organizations/{org_id}/checkout-sessions": "back to an address that is allowed",
    "PUT /v1/organizations/{org_id}/auto-recharge": "the aim is above the threshold",
    "PUT /v1/organizations/{org_id}/auto-recharge/caps": "a day's is not below a charge's",
    "POST /v1/tariffs": "decimals have so many digits; one currency is exchanged at 1",
    "POST /v1/sms-tariffs": "decimals have so many digits; one currency is exchanged at 1",
    "POST /v1/quotes": "a call or a message; decimals; a tariff has to be there",
    "POST /v1/calls/{call_id}/length": "decimals have so many digits",
    "POST /v1/bulk-decisions": "some of the filters, or all",
    "POST /v1/reconciliations": "until is after since, both in this century",
    "GET /v1/parked": "moments are of this century; a cursor is one that was given out",
    "GET /v1/webhook-events": "moments are of this century",
    "GET /v1/admin-log": "moments are of this century",
}
# Where `Allow` names a method more than the document: an id in another path may have slashes.
WITHIN_ANOTHER_PATH = (
    "POST /v1/parked/{workflow_id}/reprocess",
    "POST /v1/parked/{workflow_id}/discard",
)
_SAY_EVERY_SECONDS = 5.0
_LONGEST_EXAMPLE = 1500


@dataclass(frozen=True)
class Caller:
    """Who sends: a key, and the ids that are mostly sent where the document has such a name."""

    name: str
    key: str
    ids: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Size:
    """How much is sent: cases at least, examples of an operation, and scenarios of many steps.

    In mode `positive` it is what the document allows, in `all` what it forbids as well; to `paths`.
    """

    cases: int
    phases: tuple[str, ...]
    examples: int
    scenarios: int
    seed: int
    mode: str = "all"
    paths: str = ".*"


@dataclass
class Told:
    """What was sent, and what was not answered as promised: the promise with its first example."""

    sent: int = 0
    by_phase: Counter[str] = field(default_factory=Counter)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    links: Counter[str] = field(default_factory=Counter)
    broken: dict[str, str] = field(default_factory=dict)

    def operations(self) -> set[str]:
        return {operation for operation, _ in self.statuses}

    def let_in(self) -> set[str]:
        """Return the operations that were answered well."""
        return {operation for operation, status in self.statuses if status < 300}

    def so_far(self) -> str:
        phases = ", ".join(f"{count} {phase}" for phase, count in self.by_phase.items())
        return f"{self.sent} sent ({phases}), {len(self.broken)} promises broken"

    def __str__(self) -> str:
        return "\n\n".join([f"{len(self.broken)} broken promises", *self.broken.values()])


def fuzz(url: str, caller: Caller, size: Size, say: Callable[[str], object]) -> Told:
    """Send until there were so many cases; say how far it is, and what is found."""
    told, rounds = Told(), 0
    while told.sent < size.cases or not rounds:
        # Examples and coverage are the same each time.
        phases = [one for one in size.phases if not rounds or one in _OTHERS_EACH_TIME]
        document = schemathesis.openapi.from_url(
            f"{url}/openapi.json", config=_config(caller, size, phases, size.seed + rounds)
        )
        enough = size.cases if rounds else math.inf  # the first round is whole
        _walk(document, told, enough, lambda far: say(f"{caller.name}, {size.cases} wanted: {far}"))
        rounds += 1
    return told


def _walk(document: BaseSchema, told: Told, enough: float, say: Callable[[str], object]) -> None:
    said_at = time.monotonic()
    sending = from_schema(document).execute()
    for event in sending:
        known = set(told.broken)
        _take(told, event)
        for one in told.broken.keys() - known:
            say(told.broken[one])
        if told.sent >= enough:
            sending.stop()
        if time.monotonic() - said_at > _SAY_EVERY_SECONDS:
            said_at = time.monotonic()
            say(told.so_far())
    say(told.so_far())


def _config(
    caller: Caller,
    size: Size,
    phases: Sequence[str],
    seed: int,
) -> SchemathesisConfig:
    dictionaries = {name: {"values": list(values)} for name, values in caller.ids.items()}
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {caller.key}"},
            "cache": {"enabled": False},
            "continue-on-failure": True,
            "request-timeout": 120,
            "suppress-health-check": ["all"],
            "generation": {"mode": size.mode, "database": "none", "max-examples": size.examples},
            "dictionaries": dictionaries,
            "parameters": {
                f"{where}.{name}": {"dictionary": name, "probability": 0.8}
                for name in caller.ids
                for where in ("path", "query", "body")
            },
            "phases": {name: {"enabled": name in phases} for name in PHASES[:3]}
            | {
                "stateful": {
                    "enabled": "stateful" in phases,
                    "generation": {"max-examples": size.scenarios},
                }
            },
            "checks": {
                name: {"enabled": False} for name in LEFT_OUT if name != "max_response_time"
            },
            "operations": [
                {"exclude-path-regex": size.paths, "enabled": False},
                *_without("positive_data_acceptance", MORE_THAN_A_SCHEMA),
                *_without("allow_header_conformance", WITHIN_ANOTHER_PATH),
                {
                    "include-path": "/webhooks/vapi",
                    "headers": {"Authorization": f"Bearer {VAPI_SECRETS[0].decode()}"},
                },
            ],
        }
    )


def _without(check: str, operations: Iterable[str]) -> list[dict[str, Any]]:
    return [{"include-name": name, "checks": {check: {"enabled": False}}} for name in operations]


@schemathesis.hook("before_call")
def _keep_the_key(_: object, case: AnyCase, kwargs: dict[str, Any]) -> None:
    """Have no case revoke the key by which all are sent."""
    shown = kwargs.get("headers", {}).get("Authorization", "")
    key_id = (case.path_parameters or {}).get("key_id")
    if key_id and f"_{key_id}_" in shown:
        case.path_parameters["key_id"] = "another"


@schemathesis.hook("filter_failure")
def _is_a_failure(
    _: object, failure: Failure, case: AnyCase, response: schemathesis.Response
) -> bool:
    """Whether a promise is broken: a busy machine is late, and a schema does not know it all."""
    if isinstance(failure, ServerError):
        return "has answered within" not in response.text
    return not isinstance(failure, RejectedPositiveData) or is_plainly_written(case.body)


def is_plainly_written(value: object) -> bool:
    """Whether a value hides nothing and has no integer written as 80.0, which is one to a schema.

    The API takes neither: no schema can say so.
    """
    if isinstance(value, dict):
        return all(map(is_plainly_written, value.values()))
    if isinstance(value, list):
        return all(map(is_plainly_written, value))
    if isinstance(value, float):
        return not value.is_integer()
    return not isinstance(value, str) or is_plain(value)


def _take(told: Told, event: events.EngineEvent) -> None:
    if isinstance(event, events.ScenarioFinished):
        _count(told, event.phase, event.recorder)
        _note(told, event.recorder)
    elif isinstance(event, events.NonFatalError):
        told.broken.setdefault(f"{event.label} {event.info.title}", f"{event.label}: {event.info}")


def _count(told: Told, phase: str, recorder: ScenarioRecorder) -> None:
    told.sent += len(recorder.interactions)
    told.by_phase[phase] += len(recorder.interactions)
    for case_id, found in recorder.interactions.items():
        node = recorder.cases[case_id]
        if found.response is not None:
            told.statuses[node.value.operation.label, found.response.status_code] += 1
        if node.transition is not None and node.is_transition_applied:
            told.links[node.transition.id] += 1


def _note(told: Told, recorder: ScenarioRecorder) -> None:
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                label = recorder.cases[case_id].value.operation.label
                found = recorder.interactions.get(case_id)
                told.broken.setdefault(
                    f"{label} {check.name} {failure.title}",
                    f"{label}: {check.name}: {failure}\n{check.failure_info.code_sample}\n"
                    f"{_answer(found)}"[:_LONGEST_EXAMPLE],
                )


def _answer(found: Interaction | None) -> str:
    if found is None or found.response is None:
        return ""
    return f"{found.response.status_code} {found.response.text}"
