"""The public names: all there, all documented, none loaded too early."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import onnx_gapmil
from onnx_gapmil import api


def test_the_package_hands_on_what_its_api_has() -> None:
    assert set(onnx_gapmil.__all__) == {*api.__all__, "__version__"}
    assert list(onnx_gapmil.__all__) == sorted(onnx_gapmil.__all__)
    assert list(api.__all__) == sorted(api.__all__)


def test_dir_lists_the_public_names() -> None:
    assert dir(onnx_gapmil) == sorted(onnx_gapmil.__all__)


@pytest.mark.parametrize("name", api.__all__)
def test_public_name_can_be_imported_and_is_documented(name: str) -> None:
    found = getattr(onnx_gapmil, name)
    assert found is getattr(api, name)
    if name == "Verdict":
        assert found.__args__ == ("exact", "conditional")
        return
    text = inspect.getdoc(found)
    assert text
    assert len(text) > 25
    if inspect.isfunction(found):
        absent = [parameter for parameter in inspect.signature(found).parameters if f"{parameter}:" not in text]
        assert not absent, f"{name} says nothing of {absent}"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = onnx_gapmil.nonsense


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, onnx_gapmil; print(sorted({'onnx', 'onnxruntime', 'numpy', 'cv2', 'PIL'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_errors_form_the_tree_that_their_module_draws() -> None:
    from onnx_gapmil import errors

    tree = {
        "InputError": ("GapmilError", 2),
        "ModelError": ("InputError", 2),
        "ImageError": ("InputError", 2),
        "LabelsError": ("InputError", 2),
        "PreprocessError": ("InputError", 2),
        "ProviderError": ("InputError", 2),
        "UnsupportedHeadError": ("GapmilError", 3),
        "ProofError": ("GapmilError", 1),
    }
    for name, (parent, exit_code) in tree.items():
        kind = getattr(onnx_gapmil, name)
        assert kind.__base__.__name__ == parent
        assert kind.exit_code == exit_code
        assert name in (errors.__doc__ or "")


def test_no_folder_hides_a_public_function() -> None:
    package = Path(onnx_gapmil.__file__).parent
    names = {path.stem for path in package.iterdir()}
    assert not names & set(api.__all__)
    assert (package / "py.typed").is_file()


@pytest.mark.parametrize(("verb", "options"), [("audit", "AuditOptions"), ("compare", "CompareOptions")])
def test_the_options_of_a_shard_are_those_of_the_whole(verb: str, options: str) -> None:
    """What a type checker reads (the overloads' options) and what Python reads (the function) are the same."""
    module = importlib.import_module(f"onnx_gapmil.api.{verb}")
    told = inspect.signature(getattr(module, verb)).parameters
    keywords = {name: each.annotation for name, each in told.items() if each.kind is each.KEYWORD_ONLY}
    assert keywords.pop("shard") == "Shard | str | None"
    read = {name: kind.__forward_arg__ for name, kind in getattr(module, options).__annotations__.items()}
    assert keywords == read
