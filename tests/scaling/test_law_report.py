"""The page about a fitted law, and the charts that it can be drawn of alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distil_jax.cli import app
from distil_jax.errors import UserError
from distil_jax.scaling.charts.fits import extrapolations, write_charts
from distil_jax.scaling.charts.iso_flops import countings, iso_flops
from distil_jax.scaling.fitted import FittedLaw, read_fitted
from distil_jax.scaling.fitting.bootstrap import bootstrap
from distil_jax.scaling.fitting.fit import fit
from distil_jax.scaling.fitting.held_out import HeldOut
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.profile import Profile
from distil_jax.scaling.language_models import APPLE
from distil_jax.scaling.laws import GAMMA
from tests.made_up_runs import supervised_runs
from tests.test_report import assert_self_contained, text_of

HELD_OUT = HeldOut(
    *("compute <script>", 60, 2, 0.0123, 0.045, -0.002, 0.9),
    *((2.1, 2.2), (2.11, 2.18), ((2.0, 2.2), (2.1, 2.3))),
)


@pytest.fixture(scope="module")
def law(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("law") / "mine.json"
    runs, _ = supervised_runs()
    found = bootstrap(fit(GAMMA, runs, FitLoss(delta=1e-4), most_starts=16), 16)
    FittedLaw.of(found, held_out=[HELD_OUT], notes=["look at <b>row 7</b>"]).write(path)
    return path


def test_a_file_knows_its_runs(law):
    runs, _ = supervised_runs()
    fitted = read_fitted(law)
    np.testing.assert_allclose(fitted.columns["N"], runs.columns["N"], rtol=1e-9)
    np.testing.assert_allclose(fitted.observed, runs.loss, rtol=1e-9)


def test_the_page_of_a_law(law):
    told = CliRunner().invoke(app, ["report", str(law), "--json"])
    assert told.exit_code == 0, told.output
    page = law.with_suffix(".html")
    assert json.loads(told.stdout.splitlines()[-1]) == {"report": str(page)}
    html = page.read_text(encoding="utf-8")
    assert_self_contained(html)
    text = text_of(html)
    fitted = read_fitted(law)
    assert "gamma 73 runs" in text
    assert f"alpha {fitted.values['alpha']:.4g}" in text
    assert "1.23 4.50 −0.20 90 %" in text
    assert "look at &lt;b&gt;row 7" in text
    assert html.count("data:image/png;base64,") == 5  # fit, held out, IsoFLOPs, profiles, pairs
    assert "Plans" not in text


@pytest.mark.parametrize("counted", [0, 1])
def test_runs_of_equal_compute_are_found(counted):
    sizes = np.array([1e6, 2e6, 4e6, 1e6, 2e6, 9e6])
    budgets = np.array([1e18, 1.02e18, 0.99e18, 1e19, 1e19, 5e19])
    ways = countings(APPLE)
    columns = {"N": sizes, "D": budgets / ways[counted].a_token(sizes)}
    assert not iso_flops(columns, ways[1 - counted])
    found = iso_flops(columns, ways[counted])
    assert [(f"{budget:.1e}", sorted(group.tolist())) for budget, group in found] == [
        ("1.0e+18", [0, 1, 2])
    ]


def test_profiles_are_kept_in_the_file(law, tmp_path):
    """And drawn of it; a file that an older version wrote has none."""
    fitted = read_fitted(law)
    for each in fitted.coefficients.values():
        values, falls = np.array(each.profile_curve).T
        assert (np.diff(values) >= 0).all()
        assert falls.min() == 0
        assert values.min() <= each.value <= values.max()
    write_charts(fitted, tmp_path / "now")
    assert (tmp_path / "now" / "profiles.png").exists()
    told = json.loads(law.read_text(encoding="utf-8"))
    for each in told["coefficients"].values():
        del each["profile_curve"]
    for each in told["held_out"]:
        del each["fitted_losses"]
    older = FittedLaw.model_validate_json(json.dumps(told))
    write_charts(older, tmp_path / "older")
    drawn = sorted(path.name for path in (tmp_path / "older").iterdir())
    assert drawn == ["fit.png", "held_out.png", "iso_flops.png", "pairs.png"]


def test_a_profile_in_a_file_has_no_infinities():
    values, falls = np.array([0.0, 1.0, 2.0, np.inf]), np.array([np.inf, 0.0, 3.0, np.nan])
    assert Profile("A", values, falls, None, None).points == [(1.0, 0.0), (2.0, 3.0)]


def test_runs_better_than_all_that_were_fitted_are_told_from_others(law):
    """As a chart tells them: HELD_OUT has losses of 2.1 and 2.2."""
    fitted = read_fitted(law)
    splits = [
        replace(HELD_OUT, fitted_losses=seen)
        for seen in (None, (2.15, 3.0), (2.2, 3.0), (2.0, 2.1))
    ]
    found = extrapolations(fitted.model_copy(update={"held_out": splits}))
    assert [each.fitted_losses for each in found] == [(2.2, 3.0)]


def test_a_file_that_was_rewritten_is_read_alike_or_refused(law, tmp_path):
    """Keys in another order change nothing; what cannot be is refused, and named."""
    whole = json.loads(law.read_text())
    path = tmp_path / "law.json"
    path.write_text(json.dumps(whole, sort_keys=True))
    assert read_fitted(path).drawn() == read_fitted(law).drawn()
    for change, told in (
        ({"residuals": whole["residuals"][:5]}, "a number for each of 5 residuals"),
        ({"draws": [[*row[:-1], None] for row in whole["draws"]]}, "draws.0.5"),
        (
            {"domain": {**whole["domain"], "ranges": {"D": [1, 2], "D/N": [1, 2]}}},
            "ranges of N too",
        ),
        (
            {"domain": {**whole["domain"], "ranges": {"N": [2, 1], "D": [1, 2], "D/N": [1, 2]}}},
            "got N from 2 to 1",
        ),
    ):
        path.write_text(json.dumps({**whole, **change}))
        with pytest.raises(UserError, match=told):
            read_fitted(path)
    beyond = {**whole["coefficients"]["alpha"], "value": -5.0}
    path.write_text(
        json.dumps({**whole, "coefficients": {**whole["coefficients"], "alpha": beyond}})
    )
    with pytest.raises(UserError, match="alpha: got -5, expected 0 to 5"):
        read_fitted(path)
