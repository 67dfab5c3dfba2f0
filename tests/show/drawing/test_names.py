from onnx_gapmil.show.drawing.names import one_line, picture_names, undrawable

FSI, PDI = "\u2068", "\u2069"


def test_synonyms_are_cut_at_the_first() -> None:
    assert picture_names(["tench, Tinca tinca", "goldfish, Carassius auratus", "plain"], 3) == (
        "tench",
        "goldfish",
        "plain",
    )


def test_a_synonym_that_two_classes_share_is_kept_whole() -> None:
    labels = ["crane, bird", "crane, machine", "maillot", "maillot, tank suit"]
    assert picture_names(labels, 4) == ("crane, bird", "crane, machine", "maillot", "maillot, tank suit")


def test_classes_without_names_are_numbers() -> None:
    assert picture_names(None, 2) == ("class 0", "class 1")
    assert picture_names(["", "a"], 2) == ("class 0", "a")


def test_names_from_right_to_left_are_isolated() -> None:
    assert picture_names(["قطة", "猫"], 2) == (f"{FSI}قطة{PDI}", "猫")


def test_a_name_that_no_font_has_is_its_number_and_the_name_spelled_out() -> None:
    labels = ["cat", "x\ufdd0", "家猫"]
    assert picture_names(labels, 3) == ("cat", "class 1 (x\\ufdd0)", "家猫")
    assert undrawable(labels) == [1]
    assert undrawable(None) == []


def test_what_would_steer_is_spelled_out() -> None:
    assert picture_names(["a\u202eb", "c\nd"], 2) == ("a\\u202eb", "c d")
    assert one_line("a\u2068b\x1b[0m  c") == "a\\u2068b\\x1b[0m c"


def test_a_long_name_ends_in_an_ellipsis() -> None:
    (name,) = picture_names(["x" * 500], 1)
    assert name == "x" * 119 + "…"
