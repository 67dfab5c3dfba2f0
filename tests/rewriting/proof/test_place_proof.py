"""Places are proved of every head of a rewritten model; a grid that looks elsewhere is written, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_gapmil.errors import ModelError
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.rewriting.proof import place_proof
from onnx_gapmil.rewriting.proof.checks import Check
from onnx_gapmil.rewriting.proof.looks import AxisLooks
from onnx_gapmil.rewriting.proof.place_check import PlaceCheck
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.record import write_heads
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite, verify
from onnx_gapmil.show.terminal.rewrite_note import proof_note
from tests.helpers.support import text_model, weights

KERNEL = {"k": weights(6, 3, 4, 4), "w": weights(5, 6), "b": weights(5)}
FLIP = {"last": np.array([-1]), "end": np.array([-99]), "axis": np.array([3]), "back": np.array([-1])}
TRUNK = "c = Conv<strides=[4,4]>(x, k)\n a = Relu(c)\n"
HEAD = "p = GlobalAveragePool(m)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"


def plain() -> onnx.ModelProto:
    return text_model(f"{TRUNK} m = Identity(a)\n {HEAD}", x="float[N,3,32,32] x", init=KERNEL)


def place(report: ProofReport | None) -> Check:
    assert report is not None
    return next(check for check in report.checks if check.name == "place")


@pytest.mark.parametrize("emit", [None, "grid", "features", "scores:max", "topk:2"])
def test_places_are_proved_whatever_the_file_gives(emit: str | None) -> None:
    found = place(rewrite(plain(), write=False, emit=emit).proof)
    assert found.passed is True
    assert found.to_json()["measure"] < 0.2
    assert found.to_json()["allowed"] == 1.0


def test_verify_proves_the_places_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    rewrite(plain(), path)
    assert place(verify(plain(), path, provider="cpu")).passed is True


def test_a_grid_that_looks_elsewhere_is_right_as_a_sum_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored = AxisLooks(-1.0, -1.0, 0.0, 0.0, 1.0, 8)
    monkeypatch.setattr(place_proof, "check_places", lambda *_, **__: PlaceCheck(columns=mirrored, runs=68))
    report = rewrite(plain(), write=False).proof
    assert report is not None
    assert report.passed
    assert place(report).passed is False
    note = proof_note(report).plain
    assert "place: not known: output 'y': the columns look at the image in reverse order" in note


def test_a_head_of_several_maps_is_checked_on_all_of_them() -> None:
    body = f"{TRUNK} d = Conv<strides=[4,4]>(x, l)\n p = GlobalAveragePool(a)\n"
    body += " q = GlobalAveragePool(d)\n j = Concat<axis=1>(p, q)\n f = Flatten(j)\n y = Gemm<transB=1>(f, w, b)"
    model = text_model(
        body, x="float[N,3,32,32] x", init=KERNEL | {"l": weights(6, 3, 4, 4, seed=1), "w": weights(5, 12)}
    )
    for emit in (None, "grid"):
        assert place(rewrite(model, write=False, emit=emit).proof).passed is True


def test_a_model_that_is_too_large_to_run_is_skipped() -> None:
    made = rewrite_model(plain())
    assert made.trace is not None
    assert made.whole is not None
    trace = replace(made.trace, measured=False)
    found = place_proof.prove_places(
        replace(made.source, proto=made.model), made.heads, lift=made.model, whole=made.whole, trace=trace
    )
    assert found["y"].check.passed is None
    assert found["y"].check.skipped == place_proof.TOO_LARGE


def test_a_trunk_that_cannot_be_run_on_stripes_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ModelError("it does not.")

    monkeypatch.setattr(place_proof, "check_places", broken)
    found = place(rewrite(plain(), write=False).proof)
    assert found.passed is None
    assert "does not run on stripes" in found.joint.skipped


def test_the_note_says_the_figures() -> None:
    report = rewrite(plain(), write=False).proof
    assert report is not None
    line = next(line for line in proof_note(report).plain.splitlines() if line.startswith("  place: "))
    assert line == "  place: stripes of the image move the cells that look there: rows to 0.00, columns to 0.00 cells"


def turned() -> onnx.ModelProto:
    """Rows and columns exchanged: the maps that are run are turned back, and are no tensors of the vendor's."""
    return text_model(f"{TRUNK} m = Transpose<perm=[0,1,3,2]>(a)\n {HEAD}", x="float[N,3,32,32] x", init=KERNEL)


@pytest.mark.parametrize("emit", [None, "grid", "scores:max"])
def test_maps_that_were_turned_are_run_in_reading_order(emit: str | None, tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    assert place(rewrite(turned(), path, emit=emit).proof).passed is True
    assert place(verify(turned(), path, provider="cpu")).passed is True


def test_a_record_takes_up_what_was_measured() -> None:
    head = rewrite(plain(), write=False).heads[0]
    found = head.to_json()["places"]
    assert found["known"] is True
    assert found["rows"] == {"first": 2.0, "step": 4.0}
    assert found["measured"]["rows"]["sign"] == 1
    assert Places.from_json(found) == head.places


def test_places_that_are_contradicted_are_not_known_and_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored = AxisLooks(-1.0, -1.0, 0.0, 0.0, 1.0, 8)
    monkeypatch.setattr(place_proof, "check_places", lambda *_, **__: PlaceCheck(columns=mirrored, runs=68))
    made = rewrite(plain(), write=False)
    for head in (made.heads[0], rewrite_model(made.model).heads[0]):
        assert head.places.known is False
        assert "the columns look at the image in reverse order" in head.places.reason
        assert UNARRANGED in head.note


def test_a_file_that_claims_wrong_places_fails_verify(tmp_path: Path) -> None:
    made = rewrite(plain(), write=False)
    wrong = Places(True, "x", AxisPlaces(2.0, 4.0), AxisPlaces(-30.0, 4.0))
    write_heads(made.model, (replace(made.heads[0], places=wrong),), inlined=False)
    path = tmp_path / "new.onnx"
    onnx.save(made.model, path)
    report = verify(plain(), path, provider="cpu")
    assert place(report).passed is False
    assert not report.passed
    assert any("columns" in reason for reason in report.reasons())


#: An attention over the cells of a map, of scores by two layers; its output as a map again, perhaps beside the map.
ATTENTION = """
    r = Reshape(a, flat)
    t = Transpose<perm=[0,2,1]>(r)
    {scores}
    p = Softmax<axis=-1>(s)
    o = MatMul(p, t)
    {beside}
    v = Transpose<perm=[0,2,1]>(n)
    m = Reshape(v, whole)
"""
LEARNED = "q = MatMul(t, one)\n i = MatMul(t, two)\n j = Transpose<perm=[0,2,1]>(i)\n s = MatMul(q, j)"
#: Each cell's score with itself is its largest, by far.
OWN = """q = LpNormalization<axis=-1>(t)
    j = Transpose<perm=[0,2,1]>(q)
    c = MatMul(q, j)
    s = Mul(c, sharp)"""


def attending(scores: str, beside: str) -> onnx.ModelProto:
    init = {"one": weights(6, 6) * 8, "two": weights(6, 6, seed=1) * 8, "sharp": np.float32(5000)}
    init |= {"flat": np.array([0, 6, 64]), "whole": np.array([0, 6, 8, 8])}
    trunk = "a = Conv<strides=[4,4]>(x, k)\n"  # without its Relu, so that no two cells have one direction
    body = trunk + ATTENTION.format(scores=scores, beside=beside)
    head = HEAD.replace("p = ", "g = ").replace("(p)", "(g)")
    return text_model(f"{body} {head}", x="float[N,3,32,32] x", init=KERNEL | init)


@pytest.mark.parametrize(
    ("scores", "beside", "known"),
    [
        (LEARNED, "n = Identity(o)", False),
        (LEARNED, "n = Sum(o, t, t, t)", True),
        (OWN, "n = Identity(o)", True),
    ],
    ids=["by itself", "beside a skip connection", "of each cell to itself"],
)
def test_cells_of_an_attention_look_where_stripes_show_it_of_each(scores: str, beside: str, known: bool) -> None:
    """Its queries look at their own places, its values need not, and on average over images they seem to."""
    made = rewrite(attending(scores, beside), write=False)
    assert made.heads[0].verdict == "exact"
    assert made.heads[0].places.known is known
    assert known or made.heads[0].places.reason == place_proof.NOT_SHOWN


def test_a_file_that_claims_the_places_of_an_attentions_queries_is_not_believed(tmp_path: Path) -> None:
    model = attending(LEARNED, "n = Identity(o)")
    made = rewrite(model, write=False)
    claimed = Places(True, "x", AxisPlaces(2.0, 4.0), AxisPlaces(2.0, 4.0))
    write_heads(made.model, (replace(made.heads[0], places=claimed),), inlined=False)
    path = tmp_path / "new.onnx"
    onnx.save(made.model, path)
    with pytest.raises(ProofError, match="do not look where it says"):
        rewrite(path, write=False)


#: The upper half of the map moved two cells to the right, the lower two to the left: on average no column moved.
SHEAR = """up, down = Split<axis=2>(v, halves)
        right = Pad(up, to_right)
        left = Pad(down, to_left)
        r = Concat<axis=2>(right, left)"""


@pytest.mark.parametrize(
    ("inside", "known"),
    [
        ("r = Relu(v)", True),
        ("r = Slice(v, last, end, axis, back)", False),
        (SHEAR, False),
        ("i = Reshape(v, flat)\n q = Gather<axis=2>(i, exchanged)\n r = Reshape(q, whole)", False),
        ("i = Reshape(v, flat)\n q = Gather<axis=2>(i, pair)\n r = Reshape(q, whole)", False),
        ("r = Gather<axis=3>(v, borders)", False),
        ("r = Conv<pads=[2,2,2,2]>(v, wide)", True),
    ],
    ids=["as it is", "mirrored", "sheared", "some cells exchanged", "two exchanged", "both borders exchanged", "wide"],
)
def test_where_nothing_could_be_traced_stripes_decide(inside: str, known: bool) -> None:
    """A tensor in a sequence is not followed; what was done to it is seen."""
    body = f"""
    {TRUNK}
    v = Identity(a)
    {inside}
    l = SequenceConstruct(r)
    m = SequenceAt(l, only)
    {HEAD}
    """
    init = {"only": np.asarray(0), "halves": np.array([4, 4]), **FLIP}
    exchanged = np.arange(64)
    exchanged[[10, 45, 12, 35, 30, 57, 22, 41]] = exchanged[[45, 10, 35, 12, 57, 30, 41, 22]]
    pair = np.arange(64)
    pair[[18, 45]] = pair[[45, 18]]
    init |= {"pair": pair, "wide": np.ones((6, 6, 5, 5), np.float32)}
    init |= {"flat": np.array([0, 6, 64]), "whole": np.array([0, 6, 8, 8]), "exchanged": exchanged}
    init |= {"borders": np.array([7, 1, 2, 3, 4, 5, 6, 0])}
    init |= {"to_right": np.array([0, 0, 0, 2, 0, 0, 0, -2]), "to_left": np.array([0, 0, 0, -2, 0, 0, 0, 2])}
    head = rewrite(text_model(body, x="float[N,3,32,32] x", init=KERNEL | init), write=False).heads[0]
    assert head.places.known is known
    assert (UNARRANGED in head.note) is not known


BRIGHT = "s = ReduceMean<axes=[1,2,3]>(x)\n d = Sub(s, some)\n h = Mul(d, steep)\n g = Sigmoid(h)\n "
#: A matrix that leaves the columns as they are or turns them round, by how bright the image is.
TURNED_BY_LIGHT = BRIGHT + (
    "i = Sub(unit, g)\n j = Mul(i, straight)\n k2 = Mul(g, back_to_front)\n e = Add(j, k2)\n r = MatMul(a, e)"
)


def test_what_stripes_alone_show_must_hold_of_bright_and_of_dark_images() -> None:
    """The mean of normal noise is 0, on which a model may do something else than on photos."""
    body = f"{TRUNK} {TURNED_BY_LIGHT}\n l = SequenceConstruct(r)\n m = SequenceAt(l, only)\n {HEAD}"
    init = {"only": np.asarray(0), "some": np.float32(0.4), "steep": np.float32(100), "unit": np.float32(1)}
    init |= {"straight": np.eye(8, dtype=np.float32), "back_to_front": np.eye(8, dtype=np.float32)[::-1].copy()}
    for steep, known in ((100, False), (0, True)):
        turned = init | {"steep": np.float32(steep), "some": np.float32(0.4)}
        if known:  # the gate is 1/2 whatever the light: nothing but the straight matrix is left
            turned["back_to_front"] = np.zeros((8, 8), np.float32)
        head = rewrite(text_model(body, x="float[N,3,32,32] x", init=KERNEL | turned), write=False).heads[0]
        assert head.places.known is known


def test_cells_that_a_matrix_of_the_image_weighs_are_no_tiles() -> None:
    """Rows keep their places; of the columns the matrix decides, and stripes about 0 never show that it turns them."""
    init = {"some": np.float32(0.4), "steep": np.float32(100), "unit": np.float32(1)}
    init |= {"straight": np.eye(8, dtype=np.float32), "back_to_front": np.eye(8, dtype=np.float32)[::-1].copy()}
    model = text_model(f"{TRUNK} {TURNED_BY_LIGHT}\n m = Relu(r)\n {HEAD}", x="float[N,3,32,32] x", init=KERNEL | init)
    (head,) = rewrite(model, write=False).heads
    assert (head.places.known, head.places.reason) == (False, "a layer over all positions mixes them")


@pytest.mark.parametrize(
    "body",
    [
        "r = CumSum(a, rows)\n m = CumSum(r, columns)",
        "s = Reshape(a, cut)\n t = Transpose<perm=[0,1,2,4,3,5]>(s)\n u = Reshape(t, whole)\n"
        " v = SpaceToDepth<blocksize=2>(u)\n m = Conv(v, merge)",
    ],
    ids=["running sums", "windows that were not put back, in blocks"],
)
def test_cells_that_are_mixed_along_an_axis_are_no_tiles(body: str) -> None:
    init = {
        "rows": np.asarray(2),
        "columns": np.asarray(3),
        "cut": np.array([0, 6, 4, 2, 3, 2]),
        "whole": np.array([0, 6, 8, 6]),
        "merge": weights(6, 24, 1, 1),
    }
    model = text_model(f"{TRUNK} {body}\n {HEAD}", x="float[N,3,32,24] x", init=KERNEL | init)
    places = rewrite(model, write=False).heads[0].places
    assert (places.known, places.reason) == (False, "a layer over all positions mixes them")


@pytest.mark.parametrize(
    ("body", "left_out"),
    [
        ("m = Slice(a, zero, far, two, two)", "frames"),
        ("s = Slice(a, zero, far, three, two)\n m = Relu(s)", "rows"),
        ("m = AveragePool<kernel_shape=[2,1,1], strides=[2,1,1]>(a)", ""),
        ("m = Gather<axis=2>(a, turned)", ""),
    ],
    ids=["every second frame", "every second row", "pairs of frames", "frames turned round"],
)
def test_what_lies_between_the_cells_of_a_clip_is_seen_too(body: str, left_out: str) -> None:
    trunk = f"c = Conv<strides=[1,4,4]>(x, k3)\n a = Relu(c)\n {body}\n"
    init = {name: np.array([value]) for name, value in (("zero", 0), ("two", 2), ("three", 3), ("far", 99))}
    init |= {"k3": weights(6, 3, 1, 4, 4), "turned": np.arange(6)[::-1].copy(), "w": weights(5, 6), "b": weights(5)}
    (head,) = rewrite(text_model(f"{trunk} {HEAD}", x="float[N,3,6,24,16] x", init=init), write=False).heads
    assert head.places.known is not bool(left_out)
    assert left_out in head.places.reason


def test_first_cells_that_stripes_contradict_are_those_of_a_tiling_if_stripes_say_so() -> None:
    made = rewrite_model(plain())
    assert made.trace is not None
    assert made.whole is not None
    far = replace(made.heads[0], places=Places(True, "x", AxisPlaces(2.0, 4.0), AxisPlaces(7.0, 4.0)))
    for claimed, columns in ((False, AxisPlaces(2.0, 4.0)), (True, None)):
        found = place_proof.prove_places(
            replace(made.source, proto=made.model),
            [far],
            lift=made.model,
            whole=made.whole,
            trace=made.trace,
            claimed=claimed,
        )["y"]
        assert found.check.passed is not claimed
        assert found.places.columns == columns
