from __future__ import annotations

import pytest

from onnx_gapmil.ort.errors import explain, readable

# What ONNX Runtime 1.31.1 says.
RESHAPE = (
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node. Name:'r' "
    "Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:91 onnxruntime::"
    "ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, onnxruntime::TensorShapeVector&, bool) "
    "input_shape_size == requested_shape_size was false. The input tensor cannot be reshaped.\nmore"
)
OPSET = (
    "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph/model_load_utils.h:46 void "
    "onnxruntime::model_load_utils::ValidateOpsetForDomain(const std::unordered_map<std::__cxx11::"
    "basic_string<char>, int>&, const onnxruntime::logging::Logger&, bool, const std::string&, int) ONNX "
    "Runtime only *guarantees* support for models stamped with official released onnx opset versions. Opset "
    "99 is under development and support for this is limited. Current official support for domain ai.onnx is "
    "till opset 26.\n"
)
IR = (
    "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::"
    "Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&) Unsupported model IR version: 99, max "
    "supported IR version: 13\n"
)
LOADER = (
    "[ONNXRuntimeError] : 1 : FAIL : /o/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& "
    "onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library x.so with "
    "error: libcublasLt.so.13"
)
EXTERNAL = (
    "[ONNXRuntimeError] : 1 : FAIL : External data path validation failed for initializer: w. Error: "
    'tensorprotoutils.cc:461 ValidateExternalDataPathFromDir External data path does not exist: "e.bin"'
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            RESHAPE,
            "Non-zero status code returned while running Reshape node. Name:'r' Status Message: "
            "input_shape_size == requested_shape_size was false. The input tensor cannot be reshaped.",
        ),
        (
            EXTERNAL,
            "External data path validation failed for initializer: w. Error: "
            'External data path does not exist: "e.bin"',
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : /a/b.cc:7 auto f::operator()(const T&) const Bad thing (x)",
            "Bad thing (x)",
        ),
        (LOADER, "Failed to load library x.so with error: libcublasLt.so.13"),
        (
            "[ONNXRuntimeError] : 1 : FAIL : 1Session configuration entry 'a' must be set",
            "Session configuration entry 'a' must be set",
        ),
        ("", "ValueError"),
        ("x" * 1000, "x" * 397 + "..."),
    ],
)
def test_readable_keeps_the_words_and_drops_the_cpp(message, expected):
    assert readable(ValueError(message)) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (OPSET, "it uses opset 99 of ai.onnx, and ONNX Runtime"),
        (OPSET, "runs opset 26 at most; upgrade onnxruntime, or export the model with opset 26 or lower"),
        (IR, "it has IR version 99, and ONNX Runtime"),
        (IR, "reads IR version 13 at most"),
        ("Failed to load model because protobuf parsing failed.", "not an ONNX file, or it is cut off"),
        ("Error No Op registered for Foo with domain_version of 13", "its operator Foo is not one of ONNX"),
        ("Fatal error: com.acme:Pool(-1) is not a registered function/op", "its operator com.acme:Pool is"),
        (
            "Could not find an implementation for HardSigmoid(6) node with name 'h'",
            "no kernel for HardSigmoid (opset 6) with the types of node 'h'",
        ),
        (
            "Could not find an implementation for HardSigmoid(6) node with name ''",
            "no kernel for HardSigmoid (opset 6) with the types of an unnamed node",
        ),
    ],
)
def test_explain_says_what_to_do(message, expected):
    assert expected in explain(ValueError(message))
