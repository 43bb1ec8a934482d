"""Re-encode the Galactic templates at nside 64 as the package ships them.

    python tools/pack_templates.py pysm_templates_nside64.npz emissivity.txt out.npz

The templates were solved pixel by pixel from the maps at 30, 100 and 353 GHz that PySM_public
(commit 3a1298fba1, test_data/benchmark, MIT licence) carries for its models d1 to d3, s1, s2, f1
and a1.

Spinning dust a1 of PySM is a sum of two components of one emissivity (PySM_public
pysm/template/emissivity.txt, frequency [GHz] and flux), shifted in frequency: the first peaks near
19 GHz (Commander's nu_peak, 19 +- 3 GHz; here held at 19), the second at 33.35 GHz. The intensities
at 30 and 100 GHz give the share of the second at 30 GHz; the sum is then fitted between 20 and 70
GHz by a log-normal whose peak and width are what is packed.
"""

import sys

import numpy as np
from scipy.optimize import least_squares

NAMES = {
    "dust_I_545": "dust_I_545_uKRJ",
    "dust_Q_353": "dust_Q_353_uKRJ",
    "dust_U_353": "dust_U_353_uKRJ",
    "dust_beta_d1": "dust_beta_d1",
    "dust_temp_d1": "dust_temp_d1",
    "dust_beta_d2": "dust_beta_d2",
    "dust_beta_d3": "dust_beta_d3",
    "synchrotron_I_0.408": "sync_I_408MHz_uKRJ",
    "synchrotron_Q_23": "sync_Q_23_uKRJ",
    "synchrotron_U_23": "sync_U_23_uKRJ",
    "synchrotron_beta_s1": "sync_beta_s1",
    "synchrotron_beta_s2": "sync_beta_s2",
    "freefree_I_30": "freefree_I_30_uKRJ",
    "ame_I_30": "ame_a1_I_30_uKRJ",
}
PEAKS = (19.0, 33.35)
EMISSIVITY_PEAK = 30.0


def spinning_dust(
    low: np.ndarray, high: np.ndarray, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log-normal peak [GHz] and width in each cell from the intensities at 30 and 100 GHz."""
    log_nu, log_flux = np.log(table[table[:, 1] > 0]).T

    def shape(nu: np.ndarray, peak: float) -> np.ndarray:
        at = np.interp(np.log([*nu, 30.0]) + np.log(EMISSIVITY_PEAK / peak), log_nu, log_flux)
        return (30.0 / nu) ** 2 * np.exp(at[:-1] - at[-1])

    cold, warm = (shape(np.array([100.0]), peak)[0] for peak in PEAKS)
    seen = (low > 0) & (high > 0)
    share = np.clip((high[seen] / low[seen] - cold) / (warm - cold), 0.0, 1.0)
    nu = np.geomspace(20.0, 70.0, 26)
    shares, fits = np.linspace(0.0, 1.0, 41), []
    for value in shares:
        target = np.log((1 - value) * shape(nu, PEAKS[0]) + value * shape(nu, PEAKS[1]))

        def mismatch(x: np.ndarray, target: np.ndarray = target) -> np.ndarray:
            flux = -0.5 * ((np.log(nu / x[0]) / x[1]) ** 2 - (np.log(30.0 / x[0]) / x[1]) ** 2)
            return flux - 2.0 * np.log(nu / 30.0) - target

        fits.append(least_squares(mismatch, [22.0, 0.5]).x)
    peaks, widths = np.array(fits).T
    middle = np.median(share)
    filled = np.full(low.size, middle)
    filled[seen] = share
    return np.interp(filled, shares, peaks), np.interp(filled, shares, widths)


def main() -> None:
    """Read, rename, write in single precision."""
    source_path, emissivity_path, target_path = sys.argv[1:]
    with np.load(source_path) as source:
        packed = {name: source[key].astype(np.float32) for name, key in NAMES.items()}
        low, high = (source[f"ame_a1_I_{f}_uKRJ"].astype(float) for f in (30, 100))
    peak, width = spinning_dust(low, high, np.loadtxt(emissivity_path))
    packed["ame_peak_a1"], packed["ame_width_a1"] = (
        peak.astype(np.float32),
        width.astype(np.float32),
    )
    np.savez_compressed(target_path, **packed)


if __name__ == "__main__":
    main()
