"""Constraints from YAML: what they become, and what is refused."""

import numpy as np
import pytest

from skysift.experiment.fields import Field
from skysift.experiment.wanted import DEFAULT, Part, Workshop, read_wanted
from skysift.scattering import (
    Ancillary,
    Covariance,
    Halves,
    Independent,
    LargeScales,
    Mixture,
    Order,
    Positive,
    PowerSpectrum,
    Remainder,
    Total,
)

SHAPE = (16, 16)

EVERYTHING = """
- total: {weight: 2, emphasis: {bandpower: 10}}
- remainder
- halves: {statistics: [spectrum]}
- independent
- ancillary: {map: template.npz, field: [a, b], weight: 1e-1}
- positive: {deviation: 0.1}
- large scales: {below: 4}
"""


def statistic(parts=(), channels=1):
    kinds = {
        Part.COVARIANCE: lambda: Covariance.plane(SHAPE, 2, 2, channels=channels),
        Part.SPECTRUM: lambda: PowerSpectrum.plane(SHAPE, 6, channels=channels),
    }
    made = [kinds[part]() for part in parts or kinds]
    return made[0] if len(made) == 1 else Mixture(made)


def workshop(channels=1):
    return Workshop(
        own=statistic(channels=channels),
        channels=channels,
        grid=Field(np.ones(SHAPE)),
        statistic=statistic,
        as_data=lambda field: field.values / 2.0,
        scale=np.full(channels, 4.0),
        waves=1.5,
    )


@pytest.fixture
def listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("template.npz", a=rng.standard_normal(SHAPE), b=rng.standard_normal(SHAPE))
    np.save("other.npy", np.ones((8, 8)))

    def write(text):
        (tmp_path / "list.yaml").write_text(text)
        return "list.yaml"

    return write


def test_every_kind_of_constraint(listed):
    shop = workshop()
    made = [shop.constraint(one) for one in read_wanted(listed(EVERYTHING))]
    total, remainder, halves, independent, ancillary, positive, large = made
    assert isinstance(total, Total)
    assert (total.weight, total.emphasis) == (2.0, {Order.BANDPOWER: 10.0})
    assert total.statistic is shop.own
    assert isinstance(remainder, Remainder)
    assert remainder.weight == 1.0
    assert isinstance(halves, Halves)
    assert halves.statistic is not None
    assert halves.statistic.domain.channels == 2
    assert Order.S4 not in halves.statistic.layout.orders
    assert isinstance(independent, Independent)
    assert independent.statistic is not None
    assert Order.S4 in independent.statistic.layout.orders
    assert isinstance(ancillary, Ancillary)
    assert ancillary.statistic is not None
    assert ancillary.statistic.domain.channels == 3
    assert (ancillary.label, ancillary.weight) == ("template", 0.1)
    stored = np.load("template.npz")
    np.testing.assert_array_equal(ancillary.map, np.stack([stored["a"], stored["b"]]) / 2.0)
    assert isinstance(positive, Positive)
    assert positive.deviation == pytest.approx(0.025)
    assert isinstance(large, LargeScales)
    assert large.below == pytest.approx(6.0)


def test_without_a_file_the_total_is_constrained():
    assert read_wanted(None) == DEFAULT
    made = workshop().constraint(DEFAULT[0])
    assert isinstance(made, Total)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list of entries such as"),
        ("total: 1", "expected a list of entries such as"),
        ("- [total", "expected YAML"),
        ("- totl", "unknown constraint 'totl'. Did you mean 'total'"),
        ("- 3", "expected one constraint such as"),
        ("- {total: {}, remainder: {}}", "expected one constraint such as"),
        ("- total: 3", "expected options of total"),
        ("- total: {wieght: 3}", "unknown option of total 'wieght'. Did you mean 'weight'"),
        ("- total: {weight: 0}", "expected weight above 0 of total in list.yaml, entry 1"),
        ("- total\n- remainder: {weight: a}", "expected a number as weight of remainder in list"),
        ("- total: {emphasis: 3}", "expected emphasis such as"),
        ("- total: {emphasis: {S9: 3}}", "order: expected one of"),
        ("- total: {emphasis: {S3: -1}}", "expected emphasis of S3 of 0 or more"),
        ("- total: {statistics: covar}", "unknown statistics 'covar'. Did you mean 'covariance'"),
        ("- ancillary: {field: a}", "expected map of ancillary, got none"),
        ("- positive", "expected deviation of positive, got none"),
        ("- positive: {deviation: 0}", "expected deviation above 0"),
        ("- large_scales: {below: .nan}", "expected below above 0"),
    ],
)
def test_a_list_that_makes_no_sense(listed, text, message):
    with pytest.raises(ValueError, match="constraints: ") as caught:
        read_wanted(listed(text))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "channels", "message"),
    [
        ("- ancillary: {map: none.npy}", 1, "ancillary map: file: expected a file with a map"),
        ("- ancillary: {map: other.npy}", 1, "ancillary map: expected the grid of the data, 16"),
        ("- total: {emphasis: {S11: 2}}", 1, "expected emphasis of total on one of mean, "),
        ("- positive: {deviation: 1}", 2, "expected one map for positive, got 2"),
    ],
)
def test_constraints_that_the_data_cannot_serve(listed, text, channels, message):
    (wanted,) = read_wanted(listed(text))
    with pytest.raises(ValueError, match="constraints: ") as caught:
        workshop(channels).constraint(wanted)
    assert message in str(caught.value)


def test_a_file_that_is_not_there():
    with pytest.raises(ValueError, match="constraints: expected a YAML file with a list at no"):
        read_wanted("no.yaml")
