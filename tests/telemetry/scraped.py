"""Reading ``/metrics`` in tests: every sample by its name and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


class Scraped:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.types = {family.name: family.type for family in text_string_to_metric_families(text)}
        self.samples: dict[tuple[str, Labels], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The samples of this name that are not 0, by the values of these labels; summed over the others."""
        sums: dict[tuple[str, ...], float] = {}
        for known, value in self.of(name):
            key = tuple(known[label] for label in labels)
            sums[key] = sums.get(key, 0) + value
        return {key: value for key, value in sums.items() if value}

    def of(self, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
        return ((dict(labels), value) for (known, labels), value in self.samples.items() if known == name)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}
