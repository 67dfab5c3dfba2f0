"""Mutations for `tools.fuzz`: of bytes, and of fields whose meaning is known. All are drawn from one random source."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor

#: Numbers at which arithmetic turns over.
INTERESTING = (0, 1, -1, 2, 7, 64, 255, 256, 65535, 2**31 - 1, -(2**31), 2**31, 2**40, 2**63 - 1, -(2**63))
#: Names that steer terminals, pages, markup, paths and formats, and those that the program itself makes.
HOSTILE = (
    "",
    " ",
    "\x1b[2J\x1b]0;owned\x07",
    "a\nError: none",
    "\u202egnp.exe",
    "[red]x[/red]",
    "[/]",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%s%n{0}",
    "gapmil_trace/0",
    "gapmil_grid",
    "gapmil_logits",
    "x" * 5000,
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "\x00",
)
_OPERATORS = (
    *("Relu", "Identity", "Reshape", "Transpose", "Gather", "Softmax", "Loop", "If", "Scan", "Resize", "Cast", "Shape"),
    *("ConstantOfShape", "Expand", "Tile", "NonZero", "GlobalAveragePool", "ReduceMean", "MatMul", "Conv", "Nothing"),
)


def mutated_bytes(data: bytes, random: Random) -> bytes:
    """A few changes of bytes: flipped, set, cut, repeated, moved or put in."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        if not found:
            break
        place = random.randrange(len(found))
        length = min(random.choice((1, 1, 2, 4, 8, 64, 1024)), len(found) - place)
        kind = random.randrange(7)
        if kind == 0:
            found[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            found[place] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        elif kind == 2:
            del found[place : place + length]
        elif kind == 3:
            del found[place:]
        elif kind == 4:
            found[place:place] = found[place : place + length] * random.choice((1, 2, 50))
        elif kind == 5:
            found[place : place + length] = random.randbytes(length)
        else:
            other = random.randrange(len(found))
            found[place : place + length] = found[other : other + length]
    return bytes(found)


def mutated_model(data: bytes, random: Random) -> bytes:
    """A model with a few fields changed, at any depth."""
    proto = onnx.ModelProto.FromString(data)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if random.random() < 0.25:
            _change_graph(proto, random)
        else:
            _change_field(_some_message(proto, random), random)
    return proto.SerializeToString()


def _some_message(message: Any, random: Random) -> Any:
    """A message below this one; shallow ones are likelier, since each level is chosen by itself."""
    while True:
        inner = [
            (field, value)
            for field, value in message.ListFields()
            if field.type == FieldDescriptor.TYPE_MESSAGE and value
        ]
        if not inner or random.random() < 0.15:
            return message
        _, value = random.choice(inner)
        message = value if hasattr(value, "ListFields") else random.choice(value)


def _change_field(message: Any, random: Random) -> None:
    fields = [
        field for field in message.DESCRIPTOR.fields if random.random() < 0.3 or field.name in _set_names(message)
    ]
    if not fields:
        return
    field = random.choice(fields)
    current = getattr(message, field.name)
    if not isinstance(current, str | bytes | int | float) and not hasattr(current, "ListFields"):
        _change_repeated(current, field, random)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if random.random() < 0.5:
            message.ClearField(field.name)
        else:
            current.SetInParent()
    elif random.random() < 0.2:
        message.ClearField(field.name)
    else:
        _try_set(lambda: setattr(message, field.name, _scalar(field, current, random)))


def _change_repeated(values: Any, field: Any, random: Random) -> None:
    kind = random.randrange(5)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if not values or kind == 0:
            values.add()
        elif kind == 1:
            del values[random.randrange(len(values))]
        elif kind == 2:
            values.add().CopyFrom(random.choice(values))
        elif kind == 3:
            del values[:]
        else:
            order = list(values)
            random.shuffle(order)
            copies = [type(entry).FromString(entry.SerializeToString()) for entry in order]
            del values[:]
            values.extend(copies)
        return
    if not values or kind == 0:
        _try_set(lambda: values.append(_scalar(field, None, random)))
    elif kind == 1:
        del values[random.randrange(len(values))]
    elif kind == 2:
        values.extend(list(values)[:64] * random.choice((1, 20)))
    elif kind == 3:
        del values[:]
    else:
        place = random.randrange(len(values))

        def put() -> None:
            values[place] = _scalar(field, values[place], random)

        _try_set(put)


def _change_graph(proto: onnx.ModelProto, random: Random) -> None:
    """A change that a parser of protobufs knows nothing of."""
    graph = proto.graph
    if not graph.node:
        return
    node = random.choice(graph.node)
    kind = random.randrange(9)
    names = [name for other in graph.node for name in (*other.input, *other.output) if name]
    if kind == 0:
        node.op_type = random.choice(_OPERATORS)
    elif kind == 1 and node.input and names:
        node.input[random.randrange(len(node.input))] = random.choice(names)
    elif kind == 2 and node.output:
        node.output[random.randrange(len(node.output))] = random.choice((*HOSTILE, *names[:20]))
    elif kind == 3 and names:
        old, new = random.choice(names), random.choice(HOSTILE)
        _rename(graph, old, new)
    elif kind == 4:
        for value in graph.input:
            for dim in value.type.tensor_type.shape.dim:
                if random.random() < 0.5:
                    dim.dim_value = random.choice((*INTERESTING, 6000, 30_000, 224, 1_000_000))
    elif kind == 5 and graph.initializer:
        tensor = random.choice(graph.initializer)
        array = np.array([random.choice((np.nan, np.inf, -np.inf, 0.0, 1e38, -1e38))], np.float32)
        tensor.raw_data = (array.tobytes() * (len(tensor.raw_data) // 4 + 1))[: len(tensor.raw_data)]
    elif kind == 6:
        attribute = node.attribute.add()
        attribute.name = random.choice(("axis", "axes", "perm", "group", "pads", "to", "value", "body", "ref"))
        attribute.type = random.randrange(15)
        attribute.i = random.choice(INTERESTING)
        attribute.ints.extend(random.choices(INTERESTING, k=random.randrange(5)))
        if random.random() < 0.3:
            attribute.ref_attr_name = "alpha"
    elif kind == 7:
        output = random.choice(names or ["x"])
        graph.output.add().name = output
    else:
        entry = random.choice((proto.metadata_props, graph.metadata_props, node.metadata_props)).add()
        entry.key = random.choice(
            (*HOSTILE, "gapmil.heads", "gapmil.preprocess", "names", "imgsz", "Image.BitmapPixelFormat")
        )
        entry.value = random.choice((*HOSTILE, "[1, 2", "{0: 'a'}", "[[[[", "1e999", "null", '{"schema": 99}'))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    for value in (*graph.input, *graph.output, *graph.initializer):
        if value.name == old:
            value.name = new


def _set_names(message: Any) -> set[str]:
    return {field.name for field, _ in message.ListFields()}


def _scalar(field: Any, current: Any, random: Random) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return random.choice((*HOSTILE, str(current or "") + "x"))
    if field.type == FieldDescriptor.TYPE_BYTES:
        held = bytes(current or b"")
        return random.choice((b"", held[:-1], held + b"\0", held[: len(held) // 2], random.randbytes(8)))
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return random.choice((0.0, -1.0, float("nan"), float("inf"), 1e38, -1e-38))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return random.randrange(30)
    if isinstance(current, int) and random.random() < 0.3:
        return current + random.choice((-1, 1))
    return random.choice(INTERESTING)


def _try_set(change: Any) -> None:
    """A value that a field cannot have (a wide number, half a letter) is no mutation."""
    try:
        change()
    except (ValueError, TypeError, UnicodeError):
        return


def mutated_text(text: str, random: Random) -> str:
    """A label file, configuration or journal with words, numbers, lines or marks changed."""
    for _ in range(random.choice((1, 1, 2, 3))):
        kind = random.randrange(8)
        lines = text.splitlines(keepends=True) or [""]
        place = random.randrange(len(lines))
        if kind == 0:
            numbers = list(re.finditer(r"-?\d+(?:\.\d+)?", text))
            if numbers:
                found = random.choice(numbers)
                new = random.choice((*map(str, INTERESTING), "NaN", "1e999", "-0", "0x10", "null", "true", "", "1_0"))
                text = text[: found.start()] + new + text[found.end() :]
        elif kind == 1:
            words = list(re.finditer(r"[A-Za-z_]{2,}", text))
            if words:
                found = random.choice(words)
                text = text[: found.start()] + random.choice(HOSTILE) + text[found.end() :]
        elif kind == 2:
            text = "".join(lines[:place] + lines[place + 1 :])
        elif kind == 3:
            text = "".join(lines[: place + 1] * random.choice((1, 2)) + lines[place:])
        elif kind == 4:
            random.shuffle(lines)
            text = "".join(lines)
        elif kind == 5:
            spot = random.randrange(len(text) + 1)
            text = (
                text[:spot]
                + random.choice(('"', "{", "[", "]", "}", ",", ";", "<", ">", "&", "\0", "\r", "[" * 3000))
                + text[spot:]
            )
        elif kind == 6:
            text = text[: random.randrange(len(text) + 1)]
        else:
            text = _changed_json(text, random)
    return text


def _changed_json(text: str, random: Random) -> str:
    """JSON with a value of another type, where it is JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    holders: list[Any] = []
    pending: list[Any] = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict | list) and part:
            holders.append(part)
            pending.extend(part.values() if isinstance(part, dict) else part)
    if holders:
        holder = random.choice(holders)
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
        holder[key] = random.choice((None, True, -1, 10**30, 0.5, "", "x", [], {}, [[[]]], {"a": None}, HOSTILE[2]))
    return json.dumps(value)
