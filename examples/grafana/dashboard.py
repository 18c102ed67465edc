"""Makes tascel.json, a Grafana dashboard of what `tascel serve` tells Prometheus.

    python examples/grafana/dashboard.py > examples/grafana/tascel.json

Needs grafana-foundation-sdk. Every panel is a title, what it means, a unit and its expressions.
"""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphDrawStyle, StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
ON = 'instance=~"$instance"'
OF = f'{ON}, tenant=~"$tenant"'
TASKS = "{{tenant}} {{task}}"


def rate(metric: str, by: str = "", of: str = OF) -> str:
    """How fast a counter grows, a second, summed but for the labels `by`."""
    return f"sum by ({by}) (rate({metric}{{{of}}}[$__rate_interval]))"


def ratio(part: str, whole: str, by: str = "") -> str:
    """A share of what was counted meanwhile; nothing where nothing was."""
    return f"{rate(part, by)} / ({rate(whole, by)} > 0)"


def within(share: float, metric: str) -> str:
    """The time within which a share of the answers came."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'le', ON)})"


def times(metric: str) -> dict[str, str]:
    return {f"{100 * share:.0f} % within": within(share, metric) for share in (0.5, 0.95, 0.99)}


TOKENS, STEPS = "tascel_answer_tokens_total", "tascel_steps_total"
DRAFTED, ACCEPTED = "tascel_drafted_tokens_total", "tascel_accepted_tokens_total"
NUMBERS = [
    ("Answers a second", "reqps", rate("tascel_answers_total")),
    ("Tokens a second", "short", rate(TOKENS)),
    ("Tokens a pass", "short", ratio(TOKENS, STEPS)),
    ("Drafts accepted", "percentunit", ratio(ACCEPTED, DRAFTED)),
    ("Running", "short", f"sum(tascel_running{{{ON}}})"),
    ("Waiting", "short", f"sum(tascel_waiting{{{ON}}})"),
]
#: Title, what it means, unit, expressions by the names of their lines, whether these are stacked.
PANELS: list[tuple[str, str, str, Mapping[str, str], bool]] = [
    (
        "Answers by task", "Finished and broken off; a task is named by the request or found.",
        "reqps", {TASKS: rate("tascel_answers_total", "tenant, task")}, True,
    ),
    (
        "Answers by their end", "stop and length: whole; cancelled: the client went; error: ours.",
        "reqps", {"{{end}}": rate("tascel_answers_total", "end")}, True,
    ),
    (
        "Tokens a second", "Counted when an answer ends.",
        "short", {TASKS: rate(TOKENS, "tenant, task")}, True,
    ),
    (
        "Tokens a pass", "What drafting gains: 1 is plain decoding.",
        "short", {TASKS: ratio(TOKENS, STEPS, "tenant, task")}, False,
    ),
    (
        "Accepted by source", "The share of checked draft tokens that the model agreed with.",
        "percentunit", {"{{source}}": ratio(ACCEPTED, DRAFTED, "source")}, False,
    ),
    (
        "Drafted by source", "Draft tokens that were checked.",
        "short", {"{{source}}": rate(DRAFTED, "source")}, True,
    ),
    (
        "To the first token", "From arrival, with the time in the queue.",
        "s", times("tascel_first_token_seconds"), False,
    ),
    (
        "To the last token", "From arrival, with the time in the queue.",
        "s", times("tascel_answer_seconds"), False,
    ),
    (
        "Queue", "Answers that share passes, and those that wait for a row.", "short",
        {
            "running {{instance}}": f"tascel_running{{{ON}}}",
            "waiting {{instance}}": f"tascel_waiting{{{ON}}}",
        }, False,
    ),
    (
        "Requests over HTTP", "By status; 499: the client hung up before an answer.",
        "reqps", {"{{status}}": rate("tascel_http_requests_total", "status", ON)}, True,
    ),
    (
        "Prompt tokens from the cache", "The share that another request had read.", "percentunit",
        {"cached": ratio("tascel_cached_prompt_tokens_total", "tascel_prompt_tokens_total")}, False,
    ),
    (
        "Memory", "Resident memory of the process.",
        "bytes", {"{{instance}}": f"process_resident_memory_bytes{{{ON}}}"}, False,
    ),
    (
        "Processors", "How many the process keeps busy.", "short",
        {"{{instance}}": f"rate(process_cpu_seconds_total{{{ON}}}[$__rate_interval])"}, False,
    ),
    (
        "Learned online", "Answers drafted from and not yet in any file; with --learn only.",
        "short",
        {
            "learned {{tenant}}": f"sum by (tenant) (tascel_learned_traces{{{OF}}})",
            "not written {{tenant}}": f"sum by (tenant) (tascel_learn_unflushed{{{OF}}})",
        }, False,
    ),
]  # fmt: skip


def query(expression: str, name: str, at: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(name).ref_id(chr(ord("A") + at))


def number(title: str, unit: str, expression: str) -> stat.Panel:
    panel = stat.Panel().title(title).unit(unit).datasource(SOURCE).height(4).span(4).decimals(1)
    return panel.with_target(query(expression, title, 0))


def lines(
    title: str, about: str, unit: str, found: Mapping[str, str], stacked: bool
) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(about).unit(unit).datasource(SOURCE)
    panel.height(8).span(12).min(0).draw_style(GraphDrawStyle.LINE)
    panel.fill_opacity(25 if stacked else 5)
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for at, (name, expression) in enumerate(found.items()):
        panel.with_target(query(expression, name, at))
    return panel


def choice(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(SOURCE)
    variable.query(f"label_values({metric}, {name})").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.include_all(True).all_value(".*").multi(True)


def main() -> None:
    board = dashboard.Dashboard("tascel").uid("tascel").tags(["tascel"]).refresh("10s")
    board.time("now-1h", "now")
    board.with_variable(
        dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus")
    )
    board.with_variable(choice("instance", "Server", "tascel_running"))
    board.with_variable(choice("tenant", "Tenant", "tascel_answers_total"))
    panels = [*(number(*one) for one in NUMBERS), *(lines(*one) for one in PANELS)]
    for at, panel in enumerate(panels, 1):
        board.with_panel(panel.id(at))
    print(JSONEncoder(sort_keys=True, indent=2).encode(board.build()))


if __name__ == "__main__":
    main()
