import jax
import numpy as np
import pytest
from astropy import units as u

from skysift.units import T_CMB, Unit, conversion, rj_to_cmb

FREQUENCY = np.array([21.0, 100.0, 353.0, 857.0])


@pytest.mark.parametrize(
    ("unit", "theirs"),
    [(Unit.UK_CMB, "uK_CMB"), (Unit.UK_RJ, "uK_RJ"), (Unit.MJY_SR, "MJy/sr")],
)
def test_conversions_are_pysm_s(pysm3, unit, theirs):
    one = 1.0 * pysm3.units.Unit(theirs)
    expected = one.to("uK_CMB", equivalencies=pysm3.units.cmb_equivalencies(FREQUENCY * u.GHz))
    # PySM takes the temperature of the CMB from astropy's Planck15 cosmology, 2.7255 K.
    np.testing.assert_allclose(conversion(unit, Unit.UK_CMB, FREQUENCY), expected.value, rtol=1e-6)


def test_thermodynamic_factor_is_the_derivative_of_the_planck_law():
    from scipy.constants import c, h, k

    nu = FREQUENCY * 1e9

    def planck(temperature):
        return 2 * h * nu**3 / c**2 / np.expm1(h * nu / (k * temperature))

    step = 1e-4
    slope = (planck(T_CMB + step) - planck(T_CMB - step)) / (2 * step)
    np.testing.assert_allclose(slope * c**2 / (2 * k * nu**2), 1 / rj_to_cmb(FREQUENCY), rtol=1e-6)


@pytest.mark.parametrize("unit", [Unit.UK_CMB, Unit.UK_RJ, Unit.MJY_SR])
def test_there_and_back_is_one(unit):
    there = conversion(Unit.UK_CMB, unit, FREQUENCY)
    np.testing.assert_allclose(there * conversion(unit, Unit.UK_CMB, FREQUENCY), 1.0, rtol=1e-14)


def test_factor_is_differentiable():
    slope = jax.grad(lambda nu: conversion(Unit.UK_RJ, Unit.UK_CMB, nu))(100.0)
    difference = (rj_to_cmb(100.001) - rj_to_cmb(99.999)) / 0.002
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize(
    ("text", "unit", "factor"),
    [
        ("uK_CMB", Unit.UK_CMB, 1.0),
        ("µK_CMB", Unit.UK_CMB, 1.0),
        ("K_CMB", Unit.UK_CMB, 1e6),
        ("KCMB", Unit.UK_CMB, 1e6),
        ("mK", Unit.UK_CMB, 1e3),
        ("mK,thermodynamic", Unit.UK_CMB, 1e3),
        ("uK_RJ", Unit.UK_RJ, 1.0),
        ("K_RJ", Unit.UK_RJ, 1e6),
        ("MJy/sr", Unit.MJY_SR, 1.0),
        ("kJy/sr", Unit.MJY_SR, 1e-3),
        (" uK ", Unit.UK_CMB, 1.0),
    ],
)
def test_units_are_read_as_people_write_them(text, unit, factor):
    found, scale = Unit.parse(text)
    assert found is unit
    assert scale == pytest.approx(factor, rel=1e-14)


@pytest.mark.parametrize("text", ["", "counts", "km", "Jy", "uK_xyz", "MJy/sr_CMB"])
def test_what_is_no_brightness_is_refused(text):
    with pytest.raises(ValueError, match="unit: expected a temperature or brightness"):
        Unit.parse(text)


def test_y_has_no_brightness_at_a_frequency():
    with pytest.raises(ValueError, match="no brightness"):
        conversion(Unit.COMPTON_Y, Unit.UK_CMB, 100.0)
