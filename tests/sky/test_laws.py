"""Emission laws against PySM 3 in memory, furax, SciPy, and their own derivatives."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.constants as const
from scipy.integrate import quad

from skysift.instrument import Channel, DeltaBand, Instrument, TabulatedBand, TopHatBand
from skysift.sky import (
    CMB,
    CurvedPowerLaw,
    FreeFree,
    FreeFreePowerLaw,
    ModifiedBlackBody,
    PowerLaw,
    SpinningDust,
    ThermalSZ,
    TwoTemperatureDust,
    band_spectrum,
    simulate,
)
from skysift.units import T_CMB, Unit, conversion

LAWS = (
    CMB(),
    ThermalSZ(),
    ModifiedBlackBody(),
    TwoTemperatureDust(),
    PowerLaw(),
    CurvedPowerLaw(),
    FreeFreePowerLaw(),
    FreeFree(),
    SpinningDust(),
)
NU = np.array([20.0, 30.0, 44.0, 90.0, 143.0, 217.0, 353.0, 545.0])
NSIDE = 2
REFERENCE = Path(__file__).parents[1] / "reference" / "furax_c1d0s0.npz"


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "beta_dust": rng.normal(1.54, 0.1, 48),
        "temp_dust": rng.normal(20.0, 2.0, 48),
        "beta_pl": rng.normal(-3.0, 0.1, 48),
    }


def amplitudes(pysm3) -> np.ndarray:
    return np.random.default_rng(1).normal(10.0, 3.0, (3, 48)) * pysm3.units.uK_RJ


def dust(pysm3):
    known = parameters()
    return pysm3.ModifiedBlackBody(
        map_I=amplitudes(pysm3),
        freq_ref_I="100 GHz",
        freq_ref_P="100 GHz",
        map_mbb_index=known["beta_dust"],
        map_mbb_temperature=known["temp_dust"],
        unit_mbb_temperature="K",
        unit_I="uK_RJ",
        nside=NSIDE,
    )


def synchrotron(pysm3):
    return pysm3.PowerLaw(
        map_I=amplitudes(pysm3),
        freq_ref_I="25 GHz",
        freq_ref_P="25 GHz",
        map_pl_index=parameters()["beta_pl"],
        unit_I="uK_RJ",
        nside=NSIDE,
    )


def curved(pysm3):
    return pysm3.CurvedPowerLaw(
        map_I=amplitudes(pysm3),
        freq_ref_I="23 GHz",
        freq_ref_P="23 GHz",
        map_pl_index=parameters()["beta_pl"],
        spectral_curvature=-0.052,
        freq_curve="23 GHz",
        unit_I="uK_RJ",
        nside=NSIDE,
    )


PAIRS = (
    (dust, ModifiedBlackBody(reference=100.0), ("beta_dust", "temp_dust"), {}),
    (synchrotron, PowerLaw(reference=25.0), ("beta_pl",), {}),
    (curved, CurvedPowerLaw(reference=23.0, pivot=23.0), ("beta_pl",), {"curvature_pl": -0.052}),
)
BAND = np.linspace(120.0, 170.0, 41)
RESPONSE = np.exp(-0.5 * ((BAND - 148.0) / 12.0) ** 2) * (1 + 0.2 * np.sin(BAND))


@pytest.mark.parametrize(("build", "law", "names", "fixed"), PAIRS)
def test_laws_are_pysms_at_single_frequencies(pysm3, build, law, names, fixed):
    values = {name: jnp.asarray(parameters()[name]) for name in names} | fixed
    model, amplitude = build(pysm3), amplitudes(pysm3).value
    for nu in NU:
        expected = model.get_emission(nu * pysm3.units.GHz).to_value("uK_RJ")
        got = amplitude * np.asarray(law.sed(nu, values, Unit.UK_RJ))
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(("build", "law", "names", "fixed"), PAIRS)
@pytest.mark.parametrize("count", [5, 41])
def test_tabulated_bands_are_pysms(pysm3, build, law, names, fixed, count):
    units = pysm3.units
    step = (BAND.size - 1) // (count - 1)
    nu, response = BAND[::step], RESPONSE[::step]
    values = {name: jnp.asarray(parameters()[name]) for name in names} | fixed
    instrument = Instrument("test", (Channel("band", TabulatedBand(tuple(nu), tuple(response))),))
    to_cmb = float(conversion(Unit.UK_RJ, Unit.UK_CMB, jnp.asarray(law.reference)))
    got = amplitudes(pysm3).value * to_cmb * np.asarray(band_spectrum(law, instrument, values))[0]
    sky = pysm3.Sky(nside=NSIDE, component_objects=[build(pysm3)], output_unit="uK_CMB")
    expected = sky.get_emission(nu * units.GHz, weights=response).value
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("unit", [Unit.UK_CMB, Unit.UK_RJ, Unit.MJY_SR])
def test_units_are_pysms(pysm3, unit):
    units = pysm3.units
    for nu in NU:
        at = units.cmb_equivalencies(nu * units.GHz)
        for target in (Unit.UK_CMB, Unit.UK_RJ, Unit.MJY_SR):
            expected = (1.0 * units.Unit(unit.value)).to_value(target.value, equivalencies=at)
            got = float(conversion(unit, target, jnp.asarray(nu)))
            assert got == pytest.approx(expected, rel=1e-6)


def test_spectra_are_furaxs():
    table = np.load(REFERENCE)
    nu = table["frequencies"]
    laws = (
        ("CMB", CMB()),
        ("DUST", ModifiedBlackBody(reference=150.0)),
        ("SYNC", PowerLaw(reference=20.0)),
    )
    for name, law in laws:
        for unit, key in ((Unit.UK_CMB, "CMB"), (Unit.UK_RJ, "RJ")):
            np.testing.assert_allclose(law.sed(nu, unit=unit), table[f"{name}_K_{key}"], rtol=1e-9)


def test_packaged_sky_is_pysms_c1d0s0():
    # What our dust and synchrotron leave of the reference sky is the CMB: the same in all bands.
    table = np.load(REFERENCE)
    sky = simulate("d0s0", "LiteBIRD", nside=32, noise_ratio=0.0, stokes="IQU")
    np.testing.assert_array_equal(sky.instrument.frequencies, table["frequencies"])
    left = table["maps"] - np.asarray(sky.maps.values)[..., table["cells"]]
    level = np.abs(table["maps"]).max(axis=0)
    assert np.max(left.std(axis=0) / level) < 1e-6
    assert 30 < left[:, 0].mean(axis=0).std() < 150


@pytest.mark.parametrize("law", LAWS)
def test_one_at_the_reference(law):
    for unit in (Unit.UK_CMB, Unit.UK_RJ, Unit.MJY_SR):
        if law.reference is not None:
            assert float(law.sed(law.reference, unit=unit)) == pytest.approx(1.0, rel=1e-12)
    if isinstance(law, CMB):
        np.testing.assert_allclose(law.sed(NU), 1.0, rtol=1e-12)


@pytest.mark.parametrize("law", [law for law in LAWS if law.parameters])
def test_derivatives_match_finite_differences(law):
    values = {p.name: jnp.asarray(p.default) for p in law.parameters}
    values |= {"curvature_pl": jnp.asarray(-0.05)} if "curvature_pl" in values else {}
    slopes = jax.jacfwd(lambda v: law.sed(NU, v))(values)
    for parameter in law.parameters:
        step = 1e-5 * max(1.0, abs(parameter.default))
        up, down = (
            law.sed(NU, values | {parameter.name: values[parameter.name] + sign * step})
            for sign in (1, -1)
        )
        expected = (up - down) / (2 * step)
        scale = float(jnp.abs(expected).max())
        assert scale > 0
        np.testing.assert_allclose(slopes[parameter.name], expected, atol=1e-7 * scale)


def planck(nu: np.ndarray, temperature: float) -> np.ndarray:
    x = const.h * nu * 1e9 / const.k / temperature
    return nu**3 / np.expm1(x)


def brightness_per_kelvin(nu: float) -> float:
    step = 1e-3
    return (planck(nu, T_CMB + step) - planck(nu, T_CMB - step)) / (2 * step)


@pytest.mark.parametrize("width", [0.05, 0.3])
@pytest.mark.parametrize("centre", [30.0, 100.0, 353.0])
def test_top_hats_match_adaptive_integration(centre, width):
    low, high = centre * (1 - width / 2), centre * (1 + width / 2)
    instrument = Instrument("test", (Channel("band", TopHatBand(centre, centre * width)),))
    bottom = quad(brightness_per_kelvin, low, high, epsrel=1e-11)[0]

    def dust_flux(nu):
        return (nu / 353.0) ** 1.6 * planck(nu, 19.0)

    def synchrotron_flux(nu):
        return (nu / 23.0) ** (2 - 3.1)

    cases = (
        (ModifiedBlackBody(reference=353.0), {"beta_dust": 1.6, "temp_dust": 19.0}, dust_flux),
        (PowerLaw(reference=23.0), {"beta_pl": -3.1}, synchrotron_flux),
    )
    for law, values, flux in cases:
        got = float(band_spectrum(law, instrument, values)[0, 0])
        at_reference = flux(law.reference) / brightness_per_kelvin(law.reference)
        expected = quad(flux, low, high, epsrel=1e-11)[0] / bottom / at_reference
        assert got == pytest.approx(expected, rel=1e-6)
    assert float(band_spectrum(CMB(), instrument, {})[0, 0]) == pytest.approx(1.0, rel=1e-12)


def test_narrow_bands_become_single_frequencies():
    values = {"beta_dust": jnp.asarray([1.5, 1.7]), "temp_dust": jnp.asarray([18.0, 22.0])}
    bands = (DeltaBand(143.0), TopHatBand(143.0, 1e-3))
    instrument = Instrument("t", tuple(Channel(str(i), band) for i, band in enumerate(bands)))
    single, narrow = band_spectrum(ModifiedBlackBody(), instrument, values)
    np.testing.assert_allclose(single, narrow, rtol=1e-8)


def test_thermal_sz_vanishes_at_217_ghz_and_is_minus_two_at_low_frequency():
    law = ThermalSZ()
    assert abs(float(law.sed(217.5))) < 0.01
    assert float(law.sed(0.5, unit=Unit.UK_RJ)) == pytest.approx(-2 * T_CMB, rel=1e-3)


def test_two_temperatures_alike_are_one():
    law = TwoTemperatureDust(reference=353.0)
    alike = {"beta_dust": 1.6, "temp_dust": 20.0, "beta_cold": 1.6, "temp_cold": 20.0}
    one = ModifiedBlackBody(reference=353.0).sed(NU, {"beta_dust": 1.6, "temp_dust": 20.0})
    np.testing.assert_allclose(law.sed(NU, alike | {"fraction_cold": 0.3}), one, rtol=1e-12)


def test_free_free_has_the_index_of_its_gaunt_factor():
    law = FreeFree()
    ratio = float(law.sed(60.0, unit=Unit.UK_RJ) / law.sed(20.0, unit=Unit.UK_RJ))
    assert np.log(ratio) / np.log(3.0) == pytest.approx(-2.15, abs=0.03)


def test_unknown_parameter_is_named():
    with pytest.raises(ValueError, match="beta_dust: expected a parameter of synchrotron"):
        PowerLaw().sed(30.0, {"beta_dust": 1.5})
