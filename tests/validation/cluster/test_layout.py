"""How many workers a cluster has room for."""

from __future__ import annotations

import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.validation.cluster.layout import Layout, Machine, lay_out

CPU8, CPU16, GPU4 = Machine(8), Machine(16), Machine(32, 4)


@pytest.mark.parametrize(
    ("machines", "provider", "cores", "expected"),
    [
        ([CPU8], "auto", None, Layout(1, 8)),
        ([CPU8, CPU8], "cpu", None, Layout(2, 8)),
        ([CPU8, CPU8], "auto", 2, Layout(8, 2)),
        ([CPU8, CPU16], "auto", None, Layout(3, 8)),  # 16 would leave 8 idle
        ([Machine(1), Machine(64)], "auto", None, Layout(1, 64)),  # one core idle is no reason for 65 workers
        ([Machine(5), CPU8], "auto", None, Layout(2, 5)),
        ([Machine(0), CPU8], "auto", None, Layout(1, 8)),  # a head that does no work
        ([GPU4, CPU16], "auto", None, Layout(4, 8, 1)),
        ([GPU4, CPU16], "cuda", 4, Layout(4, 4, 1)),
        ([GPU4, Machine(4, 2)], "tensorrt", None, Layout(6, 2, 1)),  # as many threads for each
        ([GPU4, CPU16], "cpu", None, Layout(3, 16)),
        ([Machine(2, 4)], "auto", None, Layout(2, 1, 1)),  # a GPU without a core has nobody to decode for it
    ],
)
def test_workers(machines: list[Machine], provider: str, cores: int | None, expected: Layout) -> None:
    assert lay_out(machines, provider, cores) == expected


@pytest.mark.parametrize(
    ("machines", "provider", "cores", "said"),
    [
        ([], "auto", None, r"offers no cores \(0 machines\)"),
        ([Machine(0), Machine(0, 1)], "auto", None, r"offers no cores \(2 machines\)"),
        ([CPU8], "cuda", None, "--provider cuda: the Ray cluster has no GPU among 1 machine"),
        ([CPU8, Machine(4)], "auto", 16, "has the 16 cores of a worker; 8 at most"),
        ([GPU4], "cuda", 64, "has the 64 cores of a worker; 32 at most"),
    ],
)
def test_no_room(machines: list[Machine], provider: str, cores: int | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        lay_out(machines, provider, cores)


def test_it_is_said() -> None:
    assert Layout(4, 8, 1).describe() == "4 workers, each of 8 cores and a GPU"
    assert Layout(1, 1).describe() == "1 worker of 1 core"
