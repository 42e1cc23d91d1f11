"""``orch models``: the models that clients can name, where each is had, what it costs."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from proxy.call import Model
from proxy.cli import Exit, show
from proxy.cli.ledgers import ConfigOption, loaded
from proxy.policy import energy_prices
from proxy.policy.naming import matches
from proxy.policy.prices import PriceList

app = typer.Typer(rich_markup_mode=None, add_completion=False)

COLUMNS = ("model", "class", "points", "does", "upstreams", "usd in", "usd out", "tokens in", "tokens out", "lacks")
PICOUSD_PER_TOKEN = 10**6
"""One USD per million tokens, in pico-dollars per token."""


@app.command(epilog="Example: orch models 'gpt-4o*'")
def models(
    pattern: Annotated[str | None, typer.Argument(metavar="[GLOB]", help="Only those whose name fits.")] = None,
    upstream: Annotated[str | None, typer.Option(help="Only those that this upstream offers.")] = None,
    config: ConfigOption = None,
    json: show.JsonOption = False,
) -> None:
    """List the models that clients can name. Points are those of the default action; dollars are per million tokens.

    Exit 1 when no model fits.
    """
    found = loaded(config)
    prices = energy_prices(found.policies)
    chosen = [
        _told(model, prices, found.models)
        for name, model in sorted(found.models.items())
        if (pattern is None or matches(name, [pattern]))
        and (upstream is None or any(there.upstream == upstream for there in model.deployments))
    ]
    if show.form(json) is show.Form.JSON:
        show.as_json(chosen)
    else:
        show.rows(COLUMNS, (_row(told) for told in chosen))
    if not chosen:
        show.note("no model fits; `orch models` lists all")
        raise typer.Exit(Exit.NOT_OK)


def _told(model: Model, prices: PriceList | None, known: Any) -> dict[str, Any]:
    """A model as JSON shows it; None: not known, or there is no energy policy."""
    action = prices and prices.default_action_for(model.operation)
    return {
        "model": model.name,
        "class": prices.class_of(model.name, known) if prices else model.class_,
        "points": prices.price(str(action), model.name, known) if prices else None,
        "does": model.operation.value,
        "deployments": [{"upstream": there.upstream, "model": there.model} for there in model.deployments],
        "usd_per_million": {"input": _usd(model.input_picousd), "output": _usd(model.output_picousd)},
        "input_tokens_max": model.input_tokens_max,
        "output_tokens_max": model.output_tokens_max,
        "lacks": sorted(model.lacks),
    }


def _usd(picousd: int | None) -> str | None:
    return None if picousd is None else f"{Decimal(picousd) / PICOUSD_PER_TOKEN:f}"


def _row(told: dict[str, Any]) -> tuple[object, ...]:
    places = ", ".join(
        there["upstream"] if there["model"] == told["model"] else f"{there['upstream']}/{there['model']}"
        for there in told["deployments"]
    )
    usd = told["usd_per_million"]
    figures = (usd["input"], usd["output"], told["input_tokens_max"], told["output_tokens_max"])
    lacks = ", ".join(told["lacks"]) or None
    return (told["model"], told["class"], told["points"], told["does"], places, *figures, lacks)
