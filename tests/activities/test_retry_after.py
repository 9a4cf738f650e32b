"""When to ask a provider again, whatever it says."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from activities.temporal.retry_after import retry_after


@given(st.text() | st.integers(0).map(str) | st.just("9" * 5000) | st.just("²"))
def test_whatever_a_provider_says_of_when_to_come_back_is_five_minutes_at_most(said: str) -> None:
    delay = retry_after({"Retry-After": said}, "too often").next_retry_delay
    assert delay is None or timedelta(0) <= delay <= timedelta(minutes=5)
