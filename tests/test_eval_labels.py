"""Classes are matched by name."""

import pytest

from eval.labels import match_labels
from factory.errors import UserError


def match(model, real, present=None):
    ids = range(len(real)) if present is None else present
    return match_labels(model, real, present=set(ids), model="run", real="set")


def test_other_order_is_mapped():
    found = match(["cat", "dog", "emu"], ["emu", "cat", "dog"])
    assert found.names == ["emu", "cat", "dog"]
    assert found.model_indices == [2, 0, 1]
    assert found.real_indices == [0, 1, 2]
    assert (found.num_real, found.how) == (3, "exact")


def test_further_classes_of_the_model_come_last():
    found = match(["ant", "bee", "cat"], ["cat"])
    assert (found.names, found.num_real) == (["cat", "ant", "bee"], 1)
    assert found.model_indices == [2, 0, 1]


def test_spelling_is_overlooked_only_if_names_stay_apart():
    found = match(["annual_crop", "sea-lake"], ["SeaLake", "AnnualCrop"])
    assert (found.model_indices, found.how) == ([1, 0], "spelling")
    with pytest.raises(UserError, match="doesn't know 'AB'"):
        match(["a_b", "ab"], ["AB"])


def test_class_without_images_needs_no_match():
    found = match(["cat"], ["yak", "cat"], present=[1])
    assert found.real_indices == [None, 0]
    assert found.names == ["cat"]


def test_mismatch_names_both_sides_and_the_nearest():
    with pytest.raises(UserError) as caught:
        match(["airplane", "ship"], ["aeroplane", "ship"])
    assert str(caught.value) == (
        "run doesn't know 'aeroplane' of set; only the model has 'airplane'; "
        "'aeroplane' is perhaps the model's 'airplane'; "
        "rename classes so that they meet, or leave those images out with --filter"
    )


def test_doubled_name_is_an_error():
    with pytest.raises(UserError, match="label_names has 'cat' more than once"):
        match(["cat", "cat"], ["cat"])
