"""ImageNet's layouts: wnids in XML, Kaggle's solution, Caffe's lists, and files that look like labels and are none."""

import pytest

from onnx_gapmil.data import RawBox, open_data, resolve_classes
from onnx_gapmil.errors import DataError
from tests.helpers.voc_xml import annotation

MAPPING = "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\nn02012849 crane\n"


def told(path, **options):
    with pytest.raises(DataError) as caught:
        open_data(path, **options)
    return str(caught.value)


@pytest.fixture
def kaggle(tmp_path, photo, lay):
    """The tree of Kaggle's "ImageNet Object Localization Challenge", with two images of validation."""
    for number in (1, 2):
        photo(f"ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_0000000{number}.JPEG")
    photo("ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10.JPEG")
    folder = "ILSVRC/Annotations/CLS-LOC"
    lay(f"{folder}/val/ILSVRC2012_val_00000001.xml", annotation("ILSVRC2012_val_00000001", ("n02012849", 0, 2, 30, 20)))
    lay(
        f"{folder}/val/ILSVRC2012_val_00000002.xml",
        annotation("ILSVRC2012_val_00000002", ("n01443537", 1, 2, 39, 29), ("n01443537", 5, 5, 9, 9)),
    )
    lay("ILSVRC/ImageSets/CLS-LOC/val.txt", "ILSVRC2012_val_00000001 1\nILSVRC2012_val_00000002 2\n")
    lay("LOC_synset_mapping.txt", MAPPING)
    solution = "ImageId,PredictionString\n"
    solution += "ILSVRC2012_val_00000001,n02012849 0 2 30 20 \n"
    solution += "ILSVRC2012_val_00000002,n01443537 1 2 39 29 n01443537 5 5 9 9 \n"
    lay("LOC_val_solution.csv", solution)
    lay("LOC_train_solution.csv", "ImageId,PredictionString\nn01440764_10,n01440764 1 2 3 4 \n")
    return tmp_path


LABELS = [("n02012849",), ("n01443537",)]
BOXES = [
    (RawBox((0, 2, 31, 21), ("n02012849",)),),
    (RawBox((1, 2, 40, 30), ("n01443537",)), RawBox((5, 5, 10, 10), ("n01443537",))),
]


def test_xml_with_wnids(kaggle):
    data = open_data(kaggle / "ILSVRC")
    assert (data.kind, data.class_names) == ("ilsvrc", tuple(MAPPING.splitlines()))
    assert [sample.labels for sample in data.samples] == LABELS
    assert [sample.boxes for sample in data.samples] == BOXES
    assert all(sample.image.is_file() for sample in data.samples)
    chosen = open_data(kaggle / "ILSVRC", labels=kaggle / "ILSVRC/ImageSets/CLS-LOC/val.txt")
    assert chosen.samples == data.samples


def test_the_solution_file_says_the_same(kaggle):
    images = kaggle / "ILSVRC/Data/CLS-LOC/val"
    for data in (
        open_data(kaggle / "LOC_val_solution.csv"),
        open_data(images, labels=kaggle / "LOC_val_solution.csv"),
    ):
        assert data.kind == "ilsvrc"
        assert [sample.labels for sample in data.samples] == LABELS
        assert [sample.boxes for sample in data.samples] == BOXES
        assert [sample.image.name for sample in data.samples] == [
            "ILSVRC2012_val_00000001.JPEG",
            "ILSVRC2012_val_00000002.JPEG",
        ]
        assert data.class_names == tuple(MAPPING.splitlines())


def test_images_of_the_training_set_lie_in_the_folders_of_their_wnids(kaggle):
    data = open_data(kaggle / "LOC_train_solution.csv")
    assert data.samples[0].image == kaggle / "ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10.JPEG"
    assert data.samples[0].image.is_file()


def test_the_top_folder_says_where_to_go(kaggle):
    message = told(kaggle)
    assert f"give {kaggle / 'ILSVRC'}, or the images' folder with --labels {kaggle / 'LOC_val_solution.csv'}" in message


def test_of_several_solutions_validation_is_taken(tmp_path, photo, lay):
    photo("val/ILSVRC2012_val_00000001.JPEG")
    for name in ("LOC_val_solution.csv", "LOC_sample_submission.csv"):
        lay(name, "ImageId,PredictionString\nILSVRC2012_val_00000001,n02012849 0 2 30 20\n")
    assert "LOC_val_solution.csv" in open_data(tmp_path).source


def test_annotations_of_several_splits_are_to_be_chosen(kaggle, lay):
    lay("ILSVRC/Annotations/CLS-LOC/train/n01440764/n01440764_10.xml", annotation("", ("n01440764", 1, 2, 3, 4)))
    folder = kaggle / "ILSVRC/Annotations/CLS-LOC"
    assert told(kaggle / "ILSVRC").endswith(f"give one with --labels: {folder / 'train'}, {folder / 'val'}.")
    data = open_data(kaggle / "ILSVRC", labels=folder / "val")
    assert [sample.labels for sample in data.samples] == LABELS
    assert all(sample.image.is_file() for sample in data.samples)


@pytest.mark.parametrize("ending", ["", ".JPEG"])
@pytest.mark.parametrize("gap", [" ", "   ", "\t"])
def test_lists_of_names_and_labels(tmp_path, photo, lay, ending, gap):
    for number in (1, 2, 3):
        photo(f"val/ILSVRC2012_val_0000000{number}.JPEG")
    text = "".join(
        f"ILSVRC2012_val_0000000{number}{ending}{gap}{label}\r\n" for number, label in ((1, 65), (2, 970), (3, 230))
    )
    data = open_data(lay("val.txt", text))
    assert data.kind == "list"
    assert [(sample.name, sample.labels) for sample in data.samples] == [
        ("val/ILSVRC2012_val_00000001.JPEG", (65,)),
        ("val/ILSVRC2012_val_00000002.JPEG", (970,)),
        ("val/ILSVRC2012_val_00000003.JPEG", (230,)),
    ]
    assert open_data(tmp_path / "val", labels=tmp_path / "val.txt").samples[0].image == data.samples[0].image


def test_a_list_beside_its_images_is_recognised_and_names_may_have_spaces(tmp_path, photo, lay):
    photo("my photo.png")
    lay("list.txt", "my photo.png\tgreat white shark\n")
    assert open_data(tmp_path).samples[0].labels == ("great white shark",)


def test_what_looks_like_labels_and_is_none(photo, lay):
    photo("a.png")
    assert "line 1: a number without an image. ILSVRC2012_validation_ground_truth.txt" in told(
        lay("ILSVRC2012_validation_ground_truth.txt", "490\n361\n")
    )
    counted = "".join(f"ILSVRC2012_val_{number:08} {number}\n" for number in range(1, 21))
    assert "its second column only counts the lines" in told(lay("val.txt", counted))
    assert "line 2: 'b.png'; an image and its label were expected" in told(lay("x.txt", "a.png 3\nb.png\n"))


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("", "line 2: 0 words; five an object"),
        ("n02012849 1 2 3", "line 2: 4 words; five an object"),
        ("crane 1 2 3 4", "line 2: 'crane' is no WordNet id"),
        ("n02012849 1 2 3 x", "line 2: box '1 2 3 x'; four numbers were expected"),
    ],
)
def test_a_broken_solution_is_told_with_its_line(photo, lay, cell, says):
    photo("a.png")
    assert says in told(lay("LOC_val_solution.csv", f"ImageId,PredictionString\na,{cell}\n"))


def test_the_mapping_of_the_set_leads_from_wnids_to_a_models_names(kaggle):
    data = open_data(kaggle / "ILSVRC")
    named = resolve_classes(data, classes=4, names=["background", "Tench", "goldfish", "crane"])
    assert named.table == {"n02012849": (3,), "n01443537": (2,)}
    by_order = resolve_classes(data, classes=3)
    assert by_order.table == {"n02012849": (2,), "n01443537": (1,)}
    assert "numbered in alphabetical order" in by_order.source
