"""JAX: small nets in flax nnx, flax linen and equinox, with random weights, by jax2onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.zoo import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

#: By head: in words, all of them pool.
HEADS = {
    "gap_linear": "mean, Linear",
    "gap_mlp": "mean, Linear, relu, Linear",
    "gap_norm": "mean, LayerNorm, Linear",
    "gap_silu": "mean, Linear, silu, Linear",
    "norm_gap": "LayerNorm, mean, Linear",
    "conv_gap": "Conv1x1, mean",
    "tokens": "reshape to tokens, mean, Linear",
    "avg_pool": "avg_pool over the whole map, reshape, Linear",
}
LIBRARIES = ("nnx", "linen", "equinox")
HEIGHT, WIDTH, CHANNELS, CLASSES = 32, 48, 16, 10


def cases() -> Iterable[dict[str, Any]]:
    """Every head in every library, with an open batch and with a batch of 1 (equinox: one image, without batch)."""
    for batch in ("open batch", "batch 1"):
        for library in LIBRARIES:
            for name, head in HEADS.items():
                case = {"exporter": f"jax2onnx {library}, {batch}", "group": name, "model": f"{library}_{name}"}
                yield {**case, "pools": True, "head": head, "library": library, "name": name, "batch": batch}


def answer(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export one net."""
    import jax2onnx
    import onnx

    function, channels_first = {"nnx": (_nnx, False), "linen": (_linen, False), "equinox": (_equinox, True)}[
        case["library"]
    ]
    image = (3, HEIGHT, WIDTH) if channels_first else (HEIGHT, WIDTH, 3)
    batch: Any = "B" if case["batch"] == "open batch" else 1
    path = folder / f"{case['model']}-{batch}.onnx"
    jax2onnx.to_onnx(
        function(case["name"]), [(batch, *image)], model_name=case["model"], return_mode="file", output_path=str(path)
    )
    exported = onnx.load(path)  # jax2onnx moves its transposes but keeps the inner tensors' old shapes
    exported.graph.ClearField("value_info")
    onnx.save(exported, path)
    return {"file": path.name, "input": [batch, *image]}


def _nnx(head: str) -> Callable[..., Any]:
    import jax
    from flax import nnx

    class Net(nnx.Module):
        """Two convolutions and a head."""

        def __init__(self, rngs: nnx.Rngs) -> None:
            self.stem = nnx.Conv(3, CHANNELS, (3, 3), strides=4, rngs=rngs)
            self.body = nnx.Conv(CHANNELS, CHANNELS, (3, 3), rngs=rngs)
            self.norm = nnx.LayerNorm(CHANNELS, rngs=rngs)
            self.point = nnx.Conv(CHANNELS, CLASSES, (1, 1), rngs=rngs)
            self.hidden = nnx.Linear(CHANNELS, CHANNELS, rngs=rngs)
            self.dense = nnx.Linear(CHANNELS, CLASSES, rngs=rngs)

        def __call__(self, image: jax.Array) -> jax.Array:
            features = jax.nn.relu(self.body(jax.nn.relu(self.stem(image))))
            return _head(head, features, self.norm, self.point, self.hidden, self.dense)

    return Net(nnx.Rngs(0))


def _linen(head: str) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp
    from flax import linen

    class Net(linen.Module):
        """Two convolutions and a head."""

        @linen.compact
        def __call__(self, image: jax.Array) -> jax.Array:
            features = jax.nn.relu(linen.Conv(CHANNELS, (3, 3), strides=4)(image))
            features = jax.nn.relu(linen.Conv(CHANNELS, (3, 3))(features))
            layers = (linen.LayerNorm(), linen.Conv(CLASSES, (1, 1)), linen.Dense(CHANNELS), linen.Dense(CLASSES))
            return _head(head, features, *layers)

    net = Net()
    variables = net.init(jax.random.PRNGKey(0), jnp.zeros((1, HEIGHT, WIDTH, 3)))
    return lambda image: net.apply(variables, image)


def _head(name: str, features: Any, norm: Any, point: Any, hidden: Any, dense: Any) -> Any:
    """One of `HEADS` on a map (N, H, W, C)."""
    import jax
    from flax import linen

    if name == "conv_gap":
        return point(features).mean(axis=(1, 2))
    if name == "tokens":
        return dense(features.reshape(features.shape[0], -1, CHANNELS).mean(axis=1))
    if name == "avg_pool":
        return dense(linen.avg_pool(features, features.shape[1:3]).reshape(features.shape[0], -1))
    if name == "norm_gap":
        return dense(norm(features).mean(axis=(1, 2)))
    pooled = features.mean(axis=(1, 2))
    if name == "gap_norm":
        return dense(norm(pooled))
    activation = {"gap_mlp": jax.nn.relu, "gap_silu": jax.nn.silu}.get(name)
    return dense(pooled if activation is None else activation(hidden(pooled)))


def _equinox(head: str) -> Callable[..., Any]:
    import equinox
    import jax

    keys = jax.random.split(jax.random.PRNGKey(0), 5)
    stem = equinox.nn.Conv2d(3, CHANNELS, 3, stride=4, padding=1, key=keys[0])
    body = equinox.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, key=keys[1])
    point = equinox.nn.Conv2d(CHANNELS, CLASSES, 1, key=keys[2])
    hidden, dense = (
        equinox.nn.Linear(CHANNELS, CHANNELS, key=keys[3]),
        equinox.nn.Linear(CHANNELS, CLASSES, key=keys[4]),
    )
    norm = equinox.nn.LayerNorm(CHANNELS)
    pool = equinox.nn.AdaptiveAvgPool2d(1)

    def one(image: jax.Array) -> jax.Array:
        """Scores (K,) of one image (C, H, W)."""
        features = jax.nn.relu(body(jax.nn.relu(stem(image))))
        if head == "conv_gap":
            return point(features).mean(axis=(1, 2))
        if head == "avg_pool":
            return dense(pool(features).reshape(-1))
        if head in ("tokens", "norm_gap"):
            tokens = features.reshape(CHANNELS, -1).T
            return dense((jax.vmap(norm)(tokens) if head == "norm_gap" else tokens).mean(axis=0))
        pooled = features.mean(axis=(1, 2))
        if head == "gap_norm":
            return dense(norm(pooled))
        activation = {"gap_mlp": jax.nn.relu, "gap_silu": jax.nn.silu}.get(head)
        return dense(pooled if activation is None else activation(hidden(pooled)))

    return jax.vmap(one)


if __name__ == "__main__":
    protocol.main(cases, answer)
