import sys

import numpy as np
import pytest

from skysift.instrument import Channel, DeltaBand, Instrument, TabulatedBand
from skysift.maps import Stokes
from skysift.sky.pysm import pysm_maps
from skysift.units import Unit, conversion

NU = np.linspace(130.0, 160.0, 16)


@pytest.fixture
def sky(pysm3):
    maps = np.random.default_rng(0).normal(5.0, 1.0, (3, 48)) * pysm3.units.uK_RJ
    dust = pysm3.ModifiedBlackBody(
        map_I=maps,
        freq_ref_I="143 GHz",
        freq_ref_P="143 GHz",
        map_mbb_index=1.54,
        map_mbb_temperature=20.0,
        unit_mbb_temperature="K",
        unit_I="uK_RJ",
        nside=2,
    )
    return pysm3.Sky(nside=2, component_objects=[dust], output_unit="uK_RJ")


def test_maps_are_pysms_in_uk_cmb(pysm3, sky):
    response = np.exp(-0.5 * ((NU - 143) / 5) ** 2)
    bands = (DeltaBand(143.0), DeltaBand(353.0), TabulatedBand(tuple(NU), tuple(response)))
    instrument = Instrument("t", tuple(Channel(str(i), band) for i, band in enumerate(bands)))
    maps = pysm_maps(sky, instrument, stokes=Stokes.IQU)
    for row, nu in enumerate((143.0, 353.0)):
        expected = sky.get_emission(nu * pysm3.units.GHz).value
        factor = float(conversion(Unit.UK_RJ, Unit.UK_CMB, nu))
        np.testing.assert_allclose(maps.values[row], expected * factor, rtol=1e-6)
    sky.output_unit = pysm3.units.Unit("uK_CMB")
    banded = sky.get_emission(NU * pysm3.units.GHz, weights=response).value
    np.testing.assert_allclose(maps.values[2], banded, rtol=1e-6)
    polarised = pysm_maps(sky, instrument).values
    np.testing.assert_allclose(polarised, maps.values[:, 1:], rtol=1e-12)


def test_missing_nside_and_package_are_named(monkeypatch, pysm3):
    instrument = Instrument.of_frequencies([100.0])
    with pytest.raises(ValueError, match="nside: expected a resolution for PySM presets"):
        pysm_maps(["d1"], instrument)
    monkeypatch.setitem(sys.modules, "pysm3", None)
    with pytest.raises(ValueError, match="expected PySM 3 to be installed"):
        pysm_maps(["d1"], instrument, nside=8)
