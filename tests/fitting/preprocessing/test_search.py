"""The search, on models that are a few lines of NumPy: they know five colours, under one preprocessing only."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onnx_gapmil.errors import ImageError, InputError, PreprocessError
from onnx_gapmil.fitting.preprocessing import rank_presets
from onnx_gapmil.fitting.preprocessing.candidates import normalizations, same_normalization
from onnx_gapmil.fitting.preprocessing.search import evenly, evenly_spread
from onnx_gapmil.images import PRESETS, InputSpec, Preprocess

SPEC = InputSpec("x", (None, 3, 16, 16), "float32")
# Colours that are told apart by all channels, brightness included, so that every normalization matters.
COLOURS = np.array([[200, 60, 40], [60, 40, 200], [110, 130, 150], [30, 200, 120], [240, 230, 90], [20, 30, 50]])


@dataclass
class ColourModel:
    """Says which colour each quarter of the picture has, as `truth` makes them; its last class is "none of these".

    Attributes:
        truth: the one preprocessing under which it is right.
        background: classes before the first colour.
        runs: photos that were run.
    """

    truth: Preprocess
    background: int = 0
    runs: int = 0
    largest_batch: int = 0

    @property
    def input(self):
        shape = (None, 3, 16, 16) if self.truth.layout == "NCHW" else (None, 16, 16, 3)
        return InputSpec("x", shape, self.truth.dtype)

    def run(self, batch):
        self.runs += len(batch)
        self.largest_batch = max(self.largest_batch, len(batch))
        chw = batch if self.truth.layout == "NCHW" else batch.transpose(0, 3, 1, 2)
        cells = chw.astype(np.float64).reshape(len(batch), 3, 2, 8, 2, 8).mean(axis=(3, 5))
        known = np.stack([self.levels(colour) for colour in COLOURS])
        spread = np.abs(known[:, None] - known[None]).max()
        distance = (((cells[:, None] - known[None, :, :, None, None]) / spread) ** 2).sum(axis=2)
        grid = np.pad(-3000 * distance, ((0, 0), (self.background, 1), (0, 0), (0, 0)), constant_values=-6.0)
        return [Answer(grid.mean(axis=(2, 3)), grid)]

    def levels(self, rgb):
        ordered = rgb[::-1] if self.truth.color == "BGR" else rgb
        return (ordered * self.truth.scale - np.array(self.truth.mean)) / np.array(self.truth.std)


@dataclass
class Answer:
    logits: np.ndarray
    grid: np.ndarray


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(3)
    made = []
    for number in range(30):
        label = number % len(COLOURS)
        height, width = random.integers(18, 60, 2)
        noise = random.normal(0, 12, (height, width, 3))
        path = folder / f"{number:02}.png"
        Image.fromarray(np.clip(COLOURS[label] + noise, 0, 255).astype(np.uint8)).save(path)
        made.append((path, frozenset([label])))
    return made


CANDIDATES = normalizations(SPEC, PRESETS["imagenet"](SPEC))


@settings(max_examples=14)
@given(
    st.sampled_from(CANDIDATES), st.sampled_from([None, "imagenet", "unit", "raw"]), st.sampled_from(["NCHW", "NHWC"])
)
def test_the_one_preprocessing_that_works_is_found(samples, truth, base, layout):
    model = ColourModel(replace(truth.preprocess, layout=layout))
    ranking = rank_presets(model, samples, base=None if base is None else PRESETS[base](model.input))
    agreed = [row for row in ranking.rows if row.chosen or row.tied]
    assert ranking.conclusive
    assert any(
        row.preprocess.color == truth.preprocess.color and same_normalization(row.preprocess, truth.preprocess)
        for row in agreed
    ), ranking.sentence
    assert ranking.rows[0].top1 == 1.0
    assert ranking.best.layout == layout
    assert ranking.forward_passes == model.runs


@pytest.mark.parametrize("name", ["imagenet", "inception", "unit", "raw", "caffe"])
def test_conventions_that_differ_are_chosen_outright(samples, name):
    """Cifar's and CLIP's values are too near ImageNet's for thirty flat pictures; these are not."""
    truth = PRESETS[name](SPEC)
    ranking = rank_presets(ColourModel(truth), samples)
    (chosen,) = [row for row in ranking.rows if row.chosen]
    assert chosen.name == name
    assert same_normalization(ranking.best, truth)
    assert ranking.best == chosen.preprocess
    assert chosen.top1 == 1.0


def test_what_cannot_be_told_apart_is_said_to_be_tied_and_the_default_is_kept(tmp_path):
    """Pictures of one colour look alike under every rule but letterbox, which pads them."""
    flat = []
    for label, colour in enumerate(COLOURS.tolist() * 3):
        flat.append((tmp_path / f"{label}.png", frozenset([label % len(COLOURS)])))
        Image.new("RGB", (30 + label, 20), tuple(colour)).save(flat[-1][0])
    base = replace(PRESETS["unit"](SPEC), resize="shortest", interpolation="area")
    ranking = rank_presets(ColourModel(base), flat, base=base)
    assert ranking.best == base
    assert "9 others are indistinguishable from it on 18 images, in resizing (9 other rules)" in ranking.sentence
    assert "of these, the default is taken" in ranking.sentence
    tied = [row for row in ranking.rows if row.tied]
    assert {row.preprocess.interpolation for row in tied} > {"area", "bilinear", "bicubic"}
    assert {row.preprocess.resize for row in tied} == {"squash", "shortest"}
    assert [row.preprocess.resize for row in ranking.rows if row.name == "unit" and not row.tied] == [
        "shortest",
        "letterbox",
    ]


def test_values_that_no_preset_has_are_found_if_they_are_the_default(samples):
    base = replace(PRESETS["unit"](SPEC), mean=(0.1, 0.6, 0.3), std=(0.1, 0.3, 0.2))
    ranking = rank_presets(ColourModel(base), samples, base=base)
    assert same_normalization(ranking.best, base)
    assert ranking.rows[0].name == "as given"


@pytest.mark.parametrize(("offsets", "usable"), [((0, 1), {0, 1}), ((1, 0), {0, 1}), ((0, 1, 2, 9, -1), {0, 1, 2})])
def test_a_background_class_shows_as_an_offset(samples, offsets, usable):
    model = ColourModel(PRESETS["unit"](SPEC), background=1)
    ranking = rank_presets(model, samples, offsets=offsets)
    assert ranking.offset == 1
    assert "class offset 1" in ranking.sentence
    assert {row.offset for row in ranking.rows} == usable  # under the others some labels are no classes
    alone = ColourModel(PRESETS["unit"](SPEC), background=1)
    assert rank_presets(alone, samples, offsets=(1,)).forward_passes == ranking.forward_passes


def test_several_right_classes_count_each(samples):
    either = [(path, labels | {(min(labels) + 1) % len(COLOURS)}) for path, labels in samples]
    assert rank_presets(ColourModel(PRESETS["unit"](SPEC)), either).rows[0].top1 == 1.0


def test_labels_that_mean_nothing_are_said_to_be_no_better_than_guessing(samples):
    random = np.random.default_rng(11)
    shuffled = [(path, frozenset([int(random.integers(len(COLOURS)))])) for path, _ in samples]
    base = PRESETS["unit"](SPEC)
    ranking = rank_presets(ColourModel(PRESETS["raw"](SPEC)), shuffled, base=base)
    assert not ranking.conclusive
    assert ranking.best == base
    assert "right more often than guessing" in ranking.sentence
    assert "default is kept: unit, RGB" in ranking.sentence


@dataclass
class LinearModel:
    """Knows nothing: its logits are a fixed random map of the mean colour, the louder the larger the input."""

    @property
    def input(self):
        return SPEC

    def run(self, batch):
        weights = np.random.default_rng(0).normal(0, 1, (8, 3))
        grid = np.einsum("kc,nchw->nkhw", weights, batch[:, :, ::8, ::8].astype(np.float64))
        return [Answer(grid.mean(axis=(2, 3)), grid)]


def test_a_candidate_that_is_only_less_sure_of_its_guesses_does_not_replace_the_default(samples):
    """In 0..255 the guesses are loud and their log-probability certainly worse, but no other is right either."""
    random = np.random.default_rng(4)
    guessed = [(path, frozenset([int(random.integers(8))])) for path, _ in samples]
    base = PRESETS["raw"](SPEC)
    ranking = rank_presets(LinearModel(), guessed, base=base)
    by_name = {row.name: row.log_prob for row in ranking.rows if row.preprocess.resize == base.resize}
    assert by_name["unit"] > by_name["raw"] + 5
    assert not ranking.conclusive
    assert ranking.best == base


def test_passes_are_few_and_batches_no_larger_than_asked(samples):
    model = ColourModel(PRESETS["imagenet"](SPEC))
    seen = []
    ranking = rank_presets(model, samples, batch_size=5, progress=seen.append)
    assert model.largest_batch == 5
    assert seen == sorted(seen)
    assert seen[-1] == ranking.forward_passes == model.runs
    assert ranking.forward_passes <= 14 * 16 + 7 * 14 + 4 * 30 + 6 * 30 + 30
    complete = [row for row in ranking.rows if row.images == 30]
    assert [row.images for row in ranking.rows] == [30] * len(complete) + [16] * (len(ranking.rows) - len(complete))


def test_the_same_call_gives_the_same_ranking(samples):
    first, second = (rank_presets(ColourModel(PRESETS["caffe"](SPEC)), samples).to_json() for _ in range(2))
    assert first == second


def test_the_json_is_plain_and_has_the_preprocessing(samples):
    ranking = rank_presets(ColourModel(PRESETS["unit"](SPEC)), samples[:12])
    data = json.loads(json.dumps(ranking.to_json()))
    assert data["schema_version"] == 1
    assert Preprocess.from_json(data["best"]) == ranking.best
    assert set(data["rows"][0]) == {
        *("name", "preprocess", "offset", "images", "top1", "top5", "log_prob"),
        *("cell_agreement", "cell_top5", "chosen", "tied"),
    }
    assert sum(row["chosen"] for row in data["rows"]) == 1


def test_of_many_samples_some_are_taken_from_end_to_end(samples):
    assert evenly(samples, 3) == [samples[0], samples[10], samples[20]]
    assert evenly(samples, 40) == samples
    assert evenly_spread(48, 16) == list(range(0, 48, 3))
    model = ColourModel(PRESETS["unit"](SPEC))
    assert rank_presets(model, samples, images=12).images == 12


def test_a_broken_file_is_named_and_the_rest_is_used(samples, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    ranking = rank_presets(ColourModel(PRESETS["unit"](SPEC)), [(broken, frozenset([0])), *samples])
    assert ranking.images == 30
    assert [path for path, _ in ranking.failed] == [broken]
    assert ranking.to_json()["failed"][0]["image"] == broken.as_posix()


def test_a_photo_that_a_rule_cannot_prepare_counts_as_wrong_under_it(tmp_path, samples):
    thread = tmp_path / "thread.png"
    Image.new("RGB", (600_000, 1), tuple(COLOURS[0].tolist())).save(thread)
    base = PRESETS["unit"](SPEC)
    ranking = rank_presets(ColourModel(base), [(thread, frozenset([0])), *samples[:8]], base=base)
    by_rule = {row.preprocess.resize: row.top1 for row in ranking.rows if row.name == "unit"}
    assert by_rule["squash"] == 1.0
    assert by_rule["shortest"] == pytest.approx(8 / 9)


def test_requests_that_make_no_sense(samples, tmp_path):
    model = ColourModel(PRESETS["unit"](SPEC))
    with pytest.raises(ImageError, match="No labelled image"):
        rank_presets(model, [])
    with pytest.raises(ImageError, match="None of 1 labelled images can be read"):
        rank_presets(model, [(tmp_path / "missing.png", frozenset([0]))])
    with pytest.raises(InputError, match=r"labels run from 0 to 5, and the model has 7 class"):
        rank_presets(model, samples, offsets=(7, -3))
    with pytest.raises(PreprocessError, match="does not fit the model"):
        rank_presets(model, samples, base=PRESETS["unit"](InputSpec("x", (None, 3, 20, 20), "float32")))
    with pytest.raises(ValueError, match="has no label"):
        rank_presets(model, [(samples[0][0], frozenset())])
    with pytest.raises(ValueError, match="images"):
        rank_presets(model, samples, images=0)
