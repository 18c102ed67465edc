"""What the server tells of learning: figures of each tenant, read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tascel.learning import LearningDraft
from tascel.route.tenants import TenantDraft
from tascel.runner import Runner

#: Of `LearnStats`: the metric, what it is, the field; these may fall,
_NOW = (
    ("tascel_learned_traces", "Answers that were learned and are drafted from.", "traces"),
    ("tascel_learned_tokens", "Tokens of these answers.", "tokens"),
    ("tascel_learn_unflushed", "Answers that no file holds yet.", "unflushed"),
)
#: and these add up.
_TOTALS = (
    ("tascel_learn_answers", "Answers that were learned, repeated ones too.", "learned"),
    ("tascel_learn_repeated", "Answers that were there already.", "repeated"),
    ("tascel_learn_lost", "Answers given up unwritten: the disk took none too long.", "lost"),
    ("tascel_learn_errors", "Times that learning failed; answers went on.", "errors"),
    ("tascel_learn_drafted_tokens", "Tokens that only learned answers proposed.", "offered"),
    ("tascel_learn_accepted_tokens", "Those of them that were written.", "accepted"),
    ("tascel_learn_cpu_seconds", "Processor time of learning in the background.", "seconds"),
)


def learners(runner: Runner) -> dict[str, LearningDraft]:
    """The drafts that learn, by tenant; "" where there are no tenants."""
    draft = runner.draft
    drafts = draft.drafts if isinstance(draft, TenantDraft) else {"": draft}
    return {name: one for name, one in drafts.items() if isinstance(one, LearningDraft)}


class Learning(Collector):
    """The metrics of drafts that learn."""

    def __init__(self, drafts: Mapping[str, LearningDraft]) -> None:
        self._drafts = drafts

    def collect(self) -> Iterator[Metric]:
        """Prometheus' hook."""
        told = {name: draft.stats() for name, draft in self._drafts.items()}
        kinds = ((GaugeMetricFamily, _NOW), (CounterMetricFamily, _TOTALS))
        for kind, metrics in kinds:
            for name, about, field in metrics:
                family = kind(name, about, labels=["tenant"])
                for tenant, stats in told.items():
                    family.add_metric([tenant], getattr(stats, field))
                yield family
