"""What the rules and the dashboard ask for is what API and worker show, under real traffic."""

import pytest

from tests.deploy.conftest import Exported
from tests.support.promql import ITS_OWN, MetricUse, metrics_in_use

ASKED = sorted(
    (one for one in metrics_in_use() if one.name not in ITS_OWN),
    key=lambda one: (one.name, sorted(one.labels)),
)


def named(one: MetricUse) -> str:
    return f"{one.name}{{{','.join(sorted(one.labels))}}}"


@pytest.mark.parametrize("one", ASKED, ids=named)
async def test_what_is_asked_for_is_exported_with_the_labels_it_is_chosen_by(
    exported: Exported, one: MetricUse
) -> None:
    assert one.name in exported
    # What Prometheus adds itself to all that it scrapes.
    assert one.labels <= exported[one.name] | {"job", "instance"}


async def test_everything_of_callwallet_is_shown_somewhere(exported: Exported) -> None:
    """A figure that nobody looks at is not worth the scrape; parts of histograms apart."""
    shown = {one.name for one in ASKED}
    own = {name for name in exported if name.startswith("callwallet_")}
    parts = ("_created", "_sum", "_count", "_bucket")
    assert {name for name in own - shown if not name.endswith(parts)} == set()
