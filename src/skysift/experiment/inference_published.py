"""What was published for the tests T1 to T4."""

from __future__ import annotations

from skysift.experiment.inference_config import LearningExperiment, Row
from skysift.experiment.inference_problem import row_of
from skysift.inference.simulators import Protocol
from skysift.report.inference_view import Published

# SpectralCNN: tables of the README and of the model card of torch-harmonics-healpix
# (https://github.com/zonca/torch-harmonics-healpix, state of July 2026). NNhealpix and MCMC:
# Krachmalnicoff & Tomasi 2019 (arXiv:1902.04083, section 6). In percent.
_SPECTRAL = "SpectralCNN, torch-harmonics-healpix"
_PIXELS = "NNhealpix, Krachmalnicoff & Tomasi 2019"
_CHAINS = "MCMC, Krachmalnicoff & Tomasi 2019"
_CHI2 = "χ² fit, torch-harmonics-healpix"
_BOUNDS = "Fisher, torch-harmonics-healpix"

_T1 = {
    0.0: {_SPECTRAL: 1.27, _PIXELS: 1.3, _CHAINS: 0.7, _CHI2: 2.22},
    5.0: {_SPECTRAL: 3.58, _PIXELS: 2.9, _CHAINS: 2.5, _CHI2: 2.87},
    10.0: {_SPECTRAL: 6.81, _PIXELS: 5.2, _CHAINS: 4.8, _CHI2: 5.18},
    15.0: {_SPECTRAL: 11.98, _PIXELS: 8.4, _CHAINS: 7.8, _CHI2: 8.24},
}
"""By the noise in each cell."""

_T2 = {
    1.0: {_SPECTRAL: (1.69, 1.53), _PIXELS: (2.7, 2.7), _CHAINS: (0.7, 0.7)},
    0.5: {_SPECTRAL: (1.95, 1.91), _PIXELS: (3.9, 3.9)},
    0.2: {_SPECTRAL: (2.15, 2.17), _PIXELS: (5.3, 5.3)},
    0.1: {_SPECTRAL: (2.56, 2.70), _PIXELS: (6.4, 6.4)},
    0.05: {_SPECTRAL: (3.01, 3.11), _PIXELS: (8.4, 8.4)},
}
"""By the part of the sky; Krachmalnicoff & Tomasi give one number for both parameters."""

_T3 = {_SPECTRAL: 2.18, _PIXELS: 4.0, _CHAINS: 2.8}

_FIDUCIAL = (0.003, 0.054)
_T4 = {
    (16, 1.0, 0.0): (3.464e-4, 1.938e-3),
    (16, 1.0, 6.0): (7.059e-4, 2.048e-3),
    (16, 0.1, 0.0): (1.0954e-3, 6.128e-3),
    (16, 0.1, 6.0): (2.2322e-3, 6.477e-3),
    (32, 1.0, 0.0): (2.593e-4, 1.854e-3),
    (32, 1.0, 6.0): (5.891e-4, 1.974e-3),
    (32, 0.1, 0.0): (8.200e-4, 5.863e-3),
    (32, 0.1, 6.0): (1.8628e-3, 6.241e-3),
    (128, 1.0, 0.0): (2.468e-4, 1.0966e-3),
    (128, 1.0, 6.0): (5.695e-4, 1.3350e-3),
    (128, 0.1, 0.0): (7.806e-4, 3.4676e-3),
    (128, 0.1, 6.0): (1.8008e-3, 4.2218e-3),
}
"""Fisher bounds on r and tau by nside, part of the sky and noise [uK arcmin]."""


def published(experiment: LearningExperiment) -> tuple[Published, ...]:
    """What was published for the maps of an experiment; nothing for maps of no test.

    The polarised maps of torch-harmonics-healpix were drawn from spectra in the wrong order
    (`Protocol.AS_PUBLISHED`), whatever its text says: figures of them are of other maps than
    physical ones.
    """
    row = row_of(experiment)
    nside = 16 if experiment.nside is None else experiment.nside
    own = experiment.random_caps or getattr(experiment, "mask", None) is not None
    if row is None or own or (row is not Row.T4 and (nside != 16 or experiment.depth)):
        return ()
    if row is Row.T4:
        found = _T4.get((nside, experiment.fsky, experiment.depth))
        if found is None or experiment.noise:
            return ()
        other = experiment.protocol is Protocol.AS_PUBLISHED
        return (Published(_BOUNDS, found, _FIDUCIAL, other),)
    if row is Row.T1:
        table = _T1.get(experiment.noise, {}) if experiment.fsky == 1.0 else {}
        return tuple(Published(name, (value,)) for name, value in table.items())
    if experiment.noise:
        return ()
    if row is Row.T2:
        table = _T2.get(experiment.fsky, {})
    else:
        table = {name: (value,) for name, value in _T3.items()} if experiment.fsky == 1.0 else {}
    return tuple(
        Published(name, values, other=_drawn(name) is not experiment.protocol)
        for name, values in table.items()
    )


def _drawn(name: str) -> Protocol:
    """How the polarised maps of a published figure were drawn."""
    return Protocol.AS_PUBLISHED if name == _SPECTRAL else Protocol.PHYSICAL
