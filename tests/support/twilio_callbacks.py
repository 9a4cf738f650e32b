"""Make and sign status callbacks as Twilio does, with Twilio's own code."""

from collections.abc import Iterable
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from api.services import TwilioAccounts
from devstack.providers.twilio.messages import ACCOUNT_SID
from tests.support.factories import a_sid
from tests.support.signed_webhooks import Webhook

MAIN, SUB = "AC" + "1" * 32, "AC" + "2" * 32
PUBLIC_BASE_URL = "https://billing.example.com"
URL = f"{PUBLIC_BASE_URL}/webhooks/twilio/sms-status"
NEW, OLD, SUBS = "the-new-one", "the-old-one", "the-sub-accounts"
# Signs callbacks of the stand-in's account. To read messages from the stand-in, another is used.
STAND_IN_TOKEN = "the-stand-ins"
TWILIO_ACCOUNTS = TwilioAccounts(
    PUBLIC_BASE_URL,
    {
        MAIN: (NEW.encode(), OLD.encode()),
        SUB: (SUBS.encode(),),
        ACCOUNT_SID: (STAND_IN_TOKEN.encode(),),
    },
)
FORM = "application/x-www-form-urlencoded"
Parameters = Iterable[tuple[str, str]]


class Repeated(dict[str, list[str]]):
    """Parameters in the form in which Twilio's validator takes them from web frameworks."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


def callback(
    status: str = "sent",
    sid: str | None = None,
    *,
    account_sid: str = MAIN,
    token: str = NEW,
    url: str = URL,
    more: Parameters = (),
) -> Webhook:
    """Return a status callback, which also has parameters that callwallet does not know."""
    sid = sid or a_sid()
    named = {
        "ApiVersion": "2010-04-01",
        "MessageSid": sid,
        "SmsSid": sid,
        "AccountSid": account_sid,
        "MessageStatus": status,
        "SmsStatus": status,
        "From": "+15017122661",
        "To": "+447700900123",
        "RawDlrDoneDate": "2611021200",
        "ChannelToAddress": "+44770090XXXX",
    }
    return signed([*named.items(), *more], token, url, key=f"{sid}:{status}")


def signed(parameters: Parameters, token: str = NEW, url: str = URL, key: str = "") -> Webhook:
    parameters = list(parameters)
    headers = {"content-type": FORM, "x-twilio-signature": signature(parameters, token, url)}
    return Webhook("twilio", urlencode(parameters).encode(), headers, key)


def signature(parameters: Parameters, token: str = NEW, url: str = URL) -> str:
    """Sign with Twilio's own code."""
    repeated = Repeated()
    for name, value in parameters:
        repeated.setdefault(name, []).append(value)
    computed: str = RequestValidator(token).compute_signature(url, repeated)
    return computed


def sid_of(webhook: Webhook) -> str:
    return webhook.key.partition(":")[0]
