"""What a separation refuses: each message names the argument, what was expected and the remedy."""

import numpy as np
import pytest

from skysift.compsep.problem import GaussianPrior, pose
from skysift.compsep.separate import separate_arrays
from skysift.compsep.weights import InstrumentDepth, InverseVariance, UnitWeights
from skysift.grid import UNSEEN, Grid
from skysift.instrument import Channel, DeltaBand, Instrument
from skysift.maps import Maps, Stokes
from skysift.patches import Patches
from skysift.sky.model import SkyModel
from skysift.units import Unit

LITEBIRD = Instrument.preset("LiteBIRD")
GRID = Grid(2)
VALUES = np.random.default_rng(0).normal(size=(15, 2, 48))
MAPS = Maps(VALUES, GRID, Stokes.QU, channels=LITEBIRD.names)
THREE = ["beta_dust", "temp_dust", "beta_pl"]


def refused(match, maps=MAPS, instrument=LITEBIRD, *positional, **options):
    """Posing the problem fails before anything is computed."""
    with pytest.raises(ValueError, match=match):
        pose(maps, instrument, *positional, **options)


def test_another_unit():
    kelvin = Maps(VALUES, GRID, Stokes.QU, Unit.UK_RJ, LITEBIRD.names)
    refused(r"maps: expected uK_CMB, got uK_RJ. Convert .*units.conversion", kelvin)


def test_another_number_of_channels():
    refused(
        r"maps: expected 15 channels as LiteBIRD has \(40, .*\), got 9. Name the maps' channels",
        Maps(VALUES[:9], GRID, Stokes.QU),
    )


def test_no_channel_axis():
    refused(
        r"maps: expected \(channel, stokes, cell\), got shape \(2, 48\). Stack",
        Maps(VALUES[0], GRID, Stokes.QU),
    )


def test_an_unknown_instrument():
    refused("instrument: expected one of LiteBIRD.*, got 'LightBIRD'", MAPS, "LightBIRD")


@pytest.mark.parametrize("missing", [np.nan, UNSEEN, np.inf])
def test_nothing_observed(missing):
    refused(
        "maps: expected cells with at least 3 observed channels, got none. .*NaN or UNSEEN",
        MAPS.replace(np.full(VALUES.shape, missing)),
    )


@pytest.mark.parametrize("missing", [np.nan, UNSEEN])
def test_channels_that_are_missing_are_left_out(missing):
    """Stated treatment: where a channel is missing it does not count; too few channels, no fit."""
    values = VALUES.copy()
    values[4, 0, 3] = missing
    values[2:, :, 5] = missing
    measured = pose(MAPS.replace(values), LITEBIRD).measurements
    assert np.all(np.isfinite(measured.data))
    assert measured.weights[4, 0, 3] == 0.0
    assert measured.weights[4, 1, 3] > 0.0
    assert measured.dof[3] == 23
    assert measured.used[:, 3].all()
    assert not measured.used[:, 5].any()
    assert measured.dof[5] == 0


def test_an_empty_mask():
    with pytest.raises(
        ValueError, match=r"mask: expected at least one kept cell, got none. Choose"
    ):
        MAPS.masked(np.zeros(48, bool))
    with pytest.raises(
        ValueError, match=r"mask: expected at least one kept cell, got none. Choose"
    ):
        Patches.multires(np.zeros(48, bool), beta_dust=0)


def test_a_mask_of_another_nside():
    with pytest.raises(ValueError, match=r"mask: expected nside 2 .*got nside 4. Make the mask at"):
        MAPS.masked(np.ones(192, bool))


def test_patches_of_another_nside():
    refused(
        "patches: expected nside 2 as the maps have, got 4. Make the patches from a mask at",
        patches=Patches.multires(np.ones(192, bool), beta_dust=0),
    )


def test_patches_with_cells_and_maps_without_any_of_them():
    halves = np.arange(48) < 24
    refused(
        "patches: expected cells that hold those of the maps .* got 0 shared .*Make the patches",
        MAPS.masked(halves),
        patches=Patches.multires(halves[::-1].copy(), beta_dust=0),
    )


@pytest.mark.parametrize("depth", [0.0, -5.0])
def test_a_depth_that_is_not_positive(depth):
    with pytest.raises(ValueError, match=f"depth_p of channel 40: expected a positive .*{depth}"):
        Channel("40", DeltaBand(40.0), depth_p=depth)


def test_a_channel_without_depth():
    unpolarised = Maps(VALUES[:9], GRID, Stokes.QU)
    refused(
        "instrument: expected depth_p of channel '545' of Planck .*Leave the channel out",
        unpolarised,
        "Planck",
    )
    assert pose(unpolarised, "Planck", noise=UnitWeights()).measurements.weights.shape == (9, 1, 1)


@pytest.mark.parametrize("ratio", [0.0, -1.0, np.nan, np.inf])
def test_a_noise_ratio_that_is_not_positive(ratio):
    """Noiseless maps are never fitted with weights that nobody asked for."""
    with pytest.raises(ValueError, match=r"noise_ratio: expected a positive.*UnitWeights\(\)"):
        InstrumentDepth(noise_ratio=ratio)


def test_hits_of_another_size_or_sign():
    refused("hits: expected a full sky of 48 cells", noise=InstrumentDepth(hits=np.ones(192)))
    refused("hits: expected finite numbers", noise=InstrumentDepth(hits=np.full(48, -1.0)))


def test_weights_of_another_shape_or_sign():
    refused(
        r"weights: expected shape \(15,\), \(15, 2\) or \(15, 2, 48\), got \(14,\). Give one",
        noise=InverseVariance(np.ones(14)),
    )
    for bad in (-1.0, np.nan, np.inf):
        values = np.ones(15)
        values[3] = bad
        refused(
            "weights: expected finite values not below zero, got others. Use zero",
            noise=InverseVariance(values),
        )


def test_all_weights_zero():
    refused("expected cells with at least 3 observed", noise=InverseVariance(np.zeros(15)))


@pytest.mark.parametrize(
    ("fixed", "start"), [({"beta_ff": -3.0}, {}), ({}, {"beta_pl": -2.14}), ({}, {"beta_ff": -2.5})]
)
def test_two_components_with_the_same_spectrum(fixed, start):
    """Free-free and synchrotron of one index: refused at the start, and only then."""
    model = SkyModel(SkyModel.parse("c+s+f").components, fixed)
    if start == {"beta_ff": -2.5}:
        assert pose(MAPS, LITEBIRD, model, start=start).model.names == model.names
        return
    refused(
        "model: expected components with different spectra, got (synchrotron and freefree|freefree "
        "and synchrotron) that the 15 channels cannot tell apart. Leave one out, or change",
        MAPS,
        LITEBIRD,
        model,
        start=start,
    )


def test_fewer_channels_than_components():
    two = Maps(VALUES[:2], GRID, Stokes.QU, channels=LITEBIRD.names[:2])
    refused(
        r"maps: expected at least 3 channels for 3 components \(cmb, dust, synchrotron\), got 2. "
        "Leave components out",
        two,
    )


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (np.arange(48) * 2, "patches of beta_dust: labels: expected contiguous numbers .*Renumber"),
        (np.arange(48) - 1, "patches of beta_dust: labels: expected numbers from 0 on, got -1"),
        (np.zeros(47, int), "patches of beta_dust: labels: expected 48 values .*got shape .47"),
        (np.full(48, 0.5), "patches of beta_dust: labels: expected whole numbers, got fractions"),
        (np.full(48, np.nan), "patches of beta_dust: labels: expected a label on each kept cell"),
    ],
)
def test_labels_with_gaps_or_other_faults(labels, match):
    with pytest.raises(ValueError, match=match):
        separate_arrays(VALUES, LITEBIRD.frequencies, labels={"beta_dust": labels})


def test_more_clusters_than_cells():
    with pytest.raises(ValueError, match=r"patches of beta_dust: .*from 1 to 48 .*got 49. Ask"):
        Patches.kmeans(np.ones(48, bool), beta_dust=49)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_start_that_is_not_finite(bad):
    refused(
        r"start\['beta_dust'\]: expected finite values from 0.5 to 3.0, got some outside. Change",
        start={"beta_dust": bad},
    )


def test_a_start_outside_the_bounds():
    refused(
        r"start\['temp_dust'\]: expected finite values from 10.0 to 40.0", start={"temp_dust": 41}
    )
    refused(
        r"start\['temp_dust'\]: expected finite values from 25.0 to 30.0",
        start={"temp_dust": 20.0},
        bounds={"temp_dust": (25.0, 30.0)},
    )


def test_a_start_of_another_length():
    refused(
        r"start\['beta_pl'\]: expected a number or 1 values, one per patch, got shape \(3,\)",
        start={"beta_pl": np.full(3, -3.0)},
    )


@pytest.mark.parametrize("bounds", [(3.0, 0.5), (1.5, 1.5), (np.nan, 3.0), (0.5, np.nan)])
def test_bounds_that_hold_nothing(bounds):
    refused(
        r"bounds\['beta_dust'\]: expected \(low, high\) with low < high, got",
        bounds={"beta_dust": bounds},
    )


@pytest.mark.parametrize("argument", ["bounds", "start", "priors"])
def test_names_that_are_no_free_parameters(argument):
    value = {
        "bounds": (0.0, 1.0),
        "start": 1.0,
        "priors": GaussianPrior(1.0, 1.0),
    }[argument]
    refused(
        rf"{argument}: expected free parameters .* \({', '.join(THREE)}\), got 'beta_dst'",
        **{argument: {"beta_dst": value}},
    )


def test_patches_of_an_unknown_parameter():
    refused(
        rf"patches: expected free parameters of the model \({', '.join(THREE)}\), got 'beta_dst'",
        patches=Patches.multires(GRID, beta_dst=1),
    )


@pytest.mark.parametrize(("mean", "sigma"), [(1.5, 0.0), (1.5, -1.0), (np.nan, 1.0), (1.5, np.inf)])
def test_a_prior_without_width(mean, sigma):
    with pytest.raises(
        ValueError, match=r"prior: expected a finite mean and a positive sigma, got"
    ):
        GaussianPrior(mean, sigma)


def test_an_unknown_letter():
    refused(
        "model: expected letters of c, d, .* got 'x' in 'c.x'. For instance", MAPS, LITEBIRD, "c+x"
    )


def test_fixed_values_that_do_not_fit():
    components = SkyModel.parse("c+d+s").components
    refused(
        r"fixed\['temp_dust'\]: expected a number, or one value per cell of the maps \(48 or full",
        MAPS,
        LITEBIRD,
        SkyModel(components, {"temp_dust": np.full(7, 20.0)}),
    )
    missing = np.full(48, 20.0)
    missing[3] = UNSEEN
    refused(
        r"fixed\['temp_dust'\]: expected finite values in every cell, got missing",
        MAPS,
        LITEBIRD,
        SkyModel(components, {"temp_dust": missing}),
    )
    with pytest.raises(ValueError, match=r"fixed: expected some of .*beta_dust.* got 'beta_dst'"):
        SkyModel(components, {"beta_dst": 1.0})


def test_arrays_of_another_shape():
    with pytest.raises(ValueError, match=r"data: expected shape \(channel, .*got \(15, 48\)"):
        separate_arrays(VALUES[:, 0], LITEBIRD.frequencies)
    with pytest.raises(ValueError, match=r"data: expected shape \(channel, .*got \(15, 4, 48\)"):
        separate_arrays(np.tile(VALUES, (1, 2, 1)), LITEBIRD.frequencies)
    with pytest.raises(ValueError, match=r"maps: expected 14 channels"):
        separate_arrays(VALUES, LITEBIRD.frequencies[:14])


@pytest.mark.parametrize("frequency", [0.0, -40.0, np.nan])
def test_frequencies_that_are_not_positive(frequency):
    frequencies = LITEBIRD.frequencies
    frequencies[3] = frequency
    with pytest.raises(ValueError, match=r"frequency: expected a positive number of GHz, got"):
        separate_arrays(VALUES, frequencies)
