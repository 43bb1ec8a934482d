import numpy as np
import pytest

from skysift.resample.options import (
    LEAST_PART,
    FitOptions,
    check_bounds,
    check_probes,
    check_seed,
    check_whole,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("damping", -1.0),
        ("damping", np.inf),
        ("damping", np.nan),
        ("damping", "auto"),
        ("damping", True),
        ("damping", [0.1, None]),
        ("least_part", -0.1),
        ("least_part", "some"),
        ("least_part", [0.1, 0.2]),
        ("smoothness", -0.1),
        ("smoothness", "much"),
        ("smoothness", None),
        ("max_iter", 0),
        ("max_iter", 2.5),
        ("max_iter", True),
        ("tol", 0.0),
        ("tol", 2.0),
        ("tol", "small"),
        ("seed", -1),
        ("seed", 1.5),
        ("seed", None),
    ],
)
def test_bad_options_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected .* got .*[.] [A-Z]"):
        FitOptions(**{name: value})


def test_numbers_of_numpy_are_numbers():
    options = FitOptions(
        damping=np.float32(0.5),
        least_part=np.array(0.2),
        smoothness=1,
        max_iter=np.int64(3),
        tol=np.float64(1e-3),
        seed=np.uint8(7),
    )
    np.testing.assert_array_equal(options.damping_of(3), [0.5, 0.5, 0.5])
    assert options.required_part == 0.2


def test_one_damping_for_each_row():
    options = FitOptions(damping=np.array([[0.1, 0.2]]))
    np.testing.assert_array_equal(options.damping_of(2), [0.1, 0.2])
    with pytest.raises(ValueError, match="damping: expected one value, or one for each of 3 rows"):
        options.damping_of(3)


def test_least_part_is_for_a_damping_that_is_chosen():
    assert FitOptions().required_part == LEAST_PART
    assert FitOptions(damping=0.1).required_part == 0.0
    assert FitOptions(damping=0.1, least_part=0.3).required_part == 0.3
    assert FitOptions(least_part=0).required_part == 0.0


@pytest.mark.parametrize(
    "bounds", [(0,), (1.0, 1.0), (np.nan, 2.0), (3.0, 2.0), "ab", (None, 1.0), 3.0, (1, 2, 3)]
)
def test_bad_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match="bounds: expected a lowest and a higher highest value"):
        check_bounds(bounds)


def test_bounds_are_two_numbers():
    assert check_bounds(None) is None
    assert check_bounds([0, np.inf]) == (0.0, np.inf)


@pytest.mark.parametrize("value", [2.5, "3", None, True, -1])
def test_counts_are_whole_numbers(value):
    with pytest.raises(ValueError, match="probes: expected a whole number from 2 on"):
        check_probes(value)
    with pytest.raises(ValueError, match="seed: expected a whole number from 0 on"):
        check_seed(value)
    if value != -1:
        with pytest.raises(ValueError, match="halo: expected a whole number, got .* Try 8"):
            check_whole("halo", value, "Try 8.")
