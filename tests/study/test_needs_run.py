"""Studies whose fits need several others: kept, taken up again, and compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lowres.errors import UserError
from lowres.library import Study
from lowres.methods.catalogue import METHODS
from lowres.training.fit import Fit, Fitted
from lowres.training.recipe import Contrastive

NEEDY = ["soup", "merge-domains", "meta", "select-source", "self-train", "contrastive", "probe-then-lora", "tapt"]


@pytest.fixture
def needy(small: Callable[..., Study]) -> Callable[[], Study]:
    return lambda: small(sources=["shop", "chat"], targets=["film"], seeds=1, methods=NEEDY)


def test_a_second_run_trains_nothing(needy: Callable[[], Study]) -> None:
    first = needy().run()
    assert not first.outcome.failed
    again = needy().run()
    assert again.summary.fits.trained == 0
    for part in ("scores", "shift", "transfer", "overall", "verdicts"):
        assert getattr(again.summary, part) == getattr(first.summary, part)


def test_one_lost_fit_is_trained_alone_and_says_the_same(needy: Callable[[], Study]) -> None:
    first = needy().run()
    plan, store, environment = first.plan, first.store, first.outcome.environment
    for method in NEEDY:
        lost = next(fit for cell, fit in plan.fits.items() if cell.method == method and cell.shots)
        key, rows = lost.key(environment), plan.test_rows["film"].fingerprint
        before = store.read_predictions(key, rows)
        store.drop_fit(key)
        assert needy().run().outcome.trained == {lost.content}, method
        assert before is not None
        assert store.read_predictions(key, rows) == pytest.approx(before, abs=1e-6), method


def test_what_decides_on_rows_is_asked_once(needy: Callable[[], Study]) -> None:
    result = needy().run()
    decided = [(part, fit) for fit in result.plan.distinct.values() for part in fit.parts if part.by is not None]
    assert {type(part.by).__name__ for part, _ in decided} == {"PseudoLabels", "Resembling"}
    for part, fit in decided:
        asked = part.by.asked.key(result.outcome.environment)
        kept = result.store.read_predictions(asked, part.rows.fingerprint)
        assert kept is not None
        assert kept.shape == (len(part.rows), len(part.by.asked.labels))
        assert np.allclose(kept.sum(1), 1.0, atol=1e-5)
        assert part.by.asked in fit.needs


def test_starts_come_before_what_needs_them(needy: Callable[[], Study]) -> None:
    place: dict[str, int] = {}
    for number, wave in enumerate(needy().plan.waves()):
        place |= {fit.content: number for fit in wave}

    def late(fit: Fit) -> bool:
        return any(place[need.content] >= place[fit.content] for need in fit.needs)

    assert not [fit for fit in needy().plan.distinct.values() if late(fit)]


def test_methods_of_several_sources_have_net_transfer(needy: Callable[[], Study]) -> None:
    summary = needy().run().summary
    for one in summary.transfer:
        assert (one.net_transfer is not None) == (METHODS[one.method].transfers and one.shots > 0), one.method


def test_a_check_that_cannot_be_made_fails_its_fit_alone(
    needy: Callable[[], Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lowres.study import runner

    sound = runner.encoder_checks

    def broken(fit: Fit, *rest: object) -> object:
        if isinstance(fit.objective, Contrastive):
            raise RuntimeError("no features")
        return sound(fit, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "encoder_checks", broken)
    outcome = needy().run().outcome
    failed = {outcome.plan.distinct[content].objective.__class__.__name__ for content in outcome.failed}
    assert failed == {"Contrastive", "Logistic"}
    assert any("no features" in error for error in outcome.failed.values())


def test_nothing_is_held_that_no_fit_needs(needy: Callable[[], Study], monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.study import runner

    most = []
    keep = runner._Run._keep

    def watched(self: runner._Run, fit: Fit, fitted: Fitted) -> None:
        keep(self, fit, fitted)
        most.append(set(self.fitted) - {need.content for one in self.plan.distinct.values() for need in one.needs})

    monkeypatch.setattr(runner._Run, "_keep", watched)
    needy().run()
    assert most
    assert not any(most)


def test_shots_that_leave_nothing_unlabelled_are_refused(small: Callable[..., Study]) -> None:
    study = small(sources=["shop"], targets=["film"], seeds=1, methods=["self-train"], shots=[8], source_rows=16)
    with pytest.raises(UserError, match="none are left") as error:
        _ = study.plan
    assert error.value.hint
