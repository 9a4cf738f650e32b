"""Read metrics as Prometheus does."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """What an endpoint has shown at one time."""

    families: Mapping[str, Metric]

    def __getitem__(self, name: str) -> float:
        """Return the sum of a sample over all its labels; 0 if there is none."""
        return self.value(name)

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of a sample over all labels but these."""
        return sum(
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and sample.labels.items() >= labels.items()
        )


async def scrape(url: str) -> Scrape:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        text = (await http.get(url)).raise_for_status().text
    return Scrape({family.name: family for family in text_string_to_metric_families(text)})
