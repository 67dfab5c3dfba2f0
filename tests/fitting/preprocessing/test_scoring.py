import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from onnx_gapmil.fitting.preprocessing.scoring import (
    FLIPS,
    LOG_PROBABILITY_FLOOR,
    WRONG,
    Outcome,
    Score,
    better_than_guessing,
    is_worse,
    outcome,
    sign_flip_p,
)

RNG = np.random.default_rng(5)


def answer(top1=True, log_probability=-1.0):
    return Outcome(top1, True, log_probability, 0.5, 0.5)


@given(st.integers(2, 30), st.sets(st.integers(0, 29), min_size=1, max_size=4), st.integers(0, 2**31))
def test_an_outcome_is_what_scipy_and_sorting_say(classes, right, seed):
    right = {label % classes for label in right}
    random = np.random.default_rng(seed)
    logits, grid = random.normal(0, 3, classes), random.normal(0, 3, (classes, 3, 4))
    found = outcome(logits, grid, right)
    order = np.argsort(-logits, kind="stable")
    cells = np.argsort(-grid.reshape(classes, -1), axis=0, kind="stable")
    assert found.top1 == (order[0] in right)
    assert found.top5 == bool(right & set(order[:5].tolist()))
    expected = np.log(special.softmax(logits)[sorted(right)].sum())
    assert found.log_probability == pytest.approx(max(expected, LOG_PROBABILITY_FLOOR), abs=1e-9)
    assert found.cell_top1 == pytest.approx(np.isin(cells[0], list(right)).mean())
    assert found.cell_top5 == pytest.approx(np.isin(cells[:5], list(right)).any(axis=0).mean())


@given(st.integers(1, 30), st.sets(st.integers(0, 29), min_size=1, max_size=4), st.integers(0, 2**31))
def test_classes_by_themselves_count_by_their_sigmoids(classes, right, seed):
    classes = max(classes, 2)
    right = {label % classes for label in right}
    logits = np.random.default_rng(seed).normal(0, 3, classes)
    found = outcome(logits, np.zeros((classes, 1, 1)), right, independent=True)
    present = np.isin(np.arange(classes), list(right))
    expected = stats.bernoulli.logpmf(present, special.expit(logits)).mean()
    assert found.log_probability == pytest.approx(max(expected, LOG_PROBABILITY_FLOOR), abs=1e-9)


def test_equal_scores_go_to_the_lower_index():
    grid = np.zeros((3, 1, 1))
    assert outcome(np.zeros(3), grid, {0}).top1
    assert not outcome(np.zeros(3), grid, {1}).top1


def test_one_class_is_a_yes_and_a_no_by_the_sigmoid():
    yes = outcome([2.0], np.array([[[1.0, -1.0]]]), {1})
    no = outcome([2.0], np.array([[[1.0, -1.0]]]), {0})
    assert (yes.top1, no.top1) == (True, False)
    assert yes.log_probability == pytest.approx(np.log(special.expit(2.0)))
    assert no.log_probability == pytest.approx(np.log(special.expit(-2.0)))
    assert (yes.cell_top1, no.cell_top1) == (0.5, 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_wrong_answers(bad):
    assert outcome([bad, 1.0], np.zeros((2, 1, 1)), {1}) == WRONG
    assert outcome([0.0, 1.0], np.full((2, 1, 1), bad), {1}) == WRONG


def test_log_probability_has_a_floor():
    assert outcome([1e4, 0.0], np.zeros((2, 1, 1)), {1}).log_probability == LOG_PROBABILITY_FLOOR


def test_half_precision_does_not_overflow():
    logits = np.array([60000, 59998], dtype=np.float16)
    assert np.isfinite(outcome(logits, np.zeros((2, 1, 1), dtype=np.float16), {0}).log_probability)


@pytest.mark.parametrize("count", [2, 3, 8, 12])
def test_sign_flips_are_scipys_permutation_test(count):
    values = RNG.normal(0.4, 1, count)
    expected = stats.permutation_test(
        (values, np.zeros(count)),
        lambda x, y, axis: (x - y).sum(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert sign_flip_p(values) == pytest.approx(expected)


def test_many_sign_flips_are_sampled_and_come_near_the_t_test():
    values = RNG.normal(0.35, 1, 48)
    assert 2 ** len(values) > FLIPS
    assert sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)
    assert sign_flip_p(values) == sign_flip_p(values)


@given(st.integers(0, 6), st.integers(0, 6))
def test_right_and_wrong_is_mcnemars_exact_test(better, worse):
    if better + worse == 0:
        return
    values = np.array([1.0] * better + [-1.0] * worse)
    assert sign_flip_p(values) == pytest.approx(stats.binomtest(better, better + worse).pvalue)


def test_worse_by_top1_or_by_log_probability_but_not_when_they_disagree():
    good = [answer() for _ in range(12)]
    wrong = [answer(top1=False) for _ in range(12)]
    unsure = [answer(log_probability=-2.0) for _ in range(12)]
    torn = [answer(top1=False, log_probability=-0.5) for _ in range(12)]
    assert is_worse(wrong, good, 0.01)
    assert is_worse(unsure, good, 0.01)
    assert not is_worse(good, unsure, 0.01)
    assert not is_worse(torn, good, 0.01)
    assert not is_worse(good, good, 0.05)


def test_few_images_cannot_tell():
    assert not is_worse([answer(top1=False)] * 5, [answer()] * 5, 0.05)  # 2 / 2^5 = 0.0625
    assert is_worse([answer(top1=False)] * 6, [answer()] * 6, 0.05)  # 2 / 2^6 = 0.031
    assert not is_worse([answer(top1=False)] * 6, [answer()] * 6, 0.01)


@pytest.mark.parametrize(("right", "total", "chance", "tries"), [(3, 8, 0.1, 1), (4, 8, 0.1, 1), (20, 48, 0.25, 20)])
def test_better_than_guessing_is_the_binomial_tail(right, total, chance, tries):
    outcomes = [answer(top1=index < right) for index in range(total)]
    expected = stats.binom.sf(right - 1, total, chance) * tries <= 0.01
    assert better_than_guessing(outcomes, [chance] * total, tries=tries) == expected


def test_guessing_counts_each_images_own_chance():
    chances = [0.1, 0.9, 0.5, 0.2] * 4
    simulated = (np.random.default_rng(0).random((200_000, 16)) < chances).sum(axis=1)
    for right in (8, 11, 12, 14):
        outcomes = [answer(top1=index < right) for index in range(16)]
        assert better_than_guessing(outcomes, chances, tries=1) == ((simulated >= right).mean() <= 0.01)


def test_scores_are_compared_in_order():
    score = Score.of([Outcome(True, True, -1.0, 0.25, 0.5), Outcome(False, True, -3.0, 0.75, 1.0)])
    assert score.key() == (0.5, 1.0, -2.0, 0.5, 0.75)
    assert Score(0.5, 0.1, -9, 0, 0).key() > Score(0.4, 0.9, -1, 1, 1).key()
    assert Score(0.5, 0.5, -1, 0, 0).key() > Score(0.5, 0.5, -2, 1, 1).key()
