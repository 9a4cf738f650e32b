"""The channel that a message goes over: each has prices of its own."""

from enum import StrEnum


class Channel(StrEnum):
    """Twilio's channels for which there can be prices, and `OTHER` for all that there cannot.

    Whatever name is not here is another's: it is never taken for one of these.
    Source: Twilio's "Messaging Channels", which write a channel before its addresses
    (`whatsapp:+44…`, `rcs:acme_agent`, `messenger:…`), and none before those of SMS and MMS.
    """

    SMS = "sms"
    MMS = "mms"
    WHATSAPP = "whatsapp"
    RCS = "rcs"
    OTHER = "other"

    @classmethod
    def _missing_(cls, _: object) -> "Channel":
        return cls.OTHER

    @property
    def is_free_at_first(self) -> bool:
        """Whether messages that were sent before the channel's first price cost nothing.

        Version 0.1 charged for none of them. SMS and MMS wait for a price.
        """
        return self in (Channel.WHATSAPP, Channel.RCS)


def channel_of(sid: str, *addresses: str | None, media: int = 0) -> Channel:
    """Return the channel of a message, by its addresses, or else by its id and its media files.

    The addresses decide before the id, for a WhatsApp message with a picture has an id of an MMS.
    """
    by_id = Channel.MMS if media or sid.startswith("MM") else Channel.SMS
    return channel_named_in(*addresses) or by_id


def channel_named_in(*addresses: str | None) -> Channel | None:
    """Return the channel that the first of these addresses names that names one."""
    named = (one.partition(":")[0] for one in addresses if one and ":" in one)
    return next((Channel(name.lower()) for name in named), None)


def without_channel(address: str) -> str:
    """Return an address without the channel before it."""
    return address.partition(":")[2] if ":" in address else address
