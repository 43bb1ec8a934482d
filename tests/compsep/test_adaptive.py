"""Patches that follow the data: the promised gain, a known step, and a sky without any."""

import dataclasses

import numpy as np
import pytest

import skysift as ss
from skysift.compsep import UnitWeights, pose, solve
from skysift.compsep.adaptive import Tree, adaptive_patches, curvatures, informed_patches
from skysift.compsep.shrinkage import learn_priors, learn_scatter
from skysift.compsep.variants import with_patches, with_priors


def posed(sky="c1d0s0", nside=8, seed=0, **options):
    sim = ss.simulate(sky, "LiteBIRD", nside=nside, seed=seed, **options)
    return pose(sim.maps, "LiteBIRD")


def emitted(problem, theta, components):
    """Maps of amplitudes with the spectral parameters of each cell."""
    cells = problem.maps.grid.size
    columns = problem.likelihood.kernel.columns(theta, {})
    spectra = np.stack([np.broadcast_to(np.asarray(c), (len(c), cells)) for c in columns])
    amplitudes = np.stack([np.asarray(m.values) for m in components.values()])
    return np.einsum("ifc,isc->fsc", spectra, amplitudes)


def stepped(nside=8, low=1.45, high=1.65, seed=0):
    """A sky whose dust has one index in the north and another in the south, with noise."""
    sim = ss.simulate("c1d0s0", "LiteBIRD", nside=nside, seed=seed)
    flat = ss.simulate("c1d0s0", "LiteBIRD", nside=nside, seed=seed, noise_ratio=0.0)
    noise = np.asarray(sim.maps.values) - np.asarray(flat.maps.values)
    problem = pose(flat.maps, "LiteBIRD")
    north = sim.maps.grid.vectors()[:, 2] > 0
    fit = solve(problem)
    theta = np.repeat(fit.theta[:, None], sim.maps.grid.size, axis=1)
    theta[0] = np.where(north, low, high)
    values = emitted(problem, theta, fit.components) + noise
    return pose(flat.maps.replace(values), "LiteBIRD"), north


def test_gain_is_the_fall_of_the_objective():
    """The promise of one Newton step against a refit of one parameter's children."""
    problem, _ = stepped(low=1.54, high=1.56)
    fit = solve(problem)
    held = with_priors(
        with_patches(problem, ss.Patches.multires(problem.maps.grid, beta_dust=1)),
        {
            name: ss.GaussianPrior(float(fit.parameters[name][0]), 1e-6)
            for name in ("temp_dust", "beta_pl")
        },
    )
    refit = solve(held)
    terms = problem.likelihood.cell_terms(fit.theta)
    tree = Tree(problem.maps.grid, np.full(problem.maps.grid.size, -1))
    gain = tree.gain(np.asarray(terms.gradient)[0], curvatures(terms)[0], 1)
    assert gain.size == 1
    promised = 11.0 * gain[0]
    assert fit.objective - refit.objective == pytest.approx(promised, rel=0.05)
    assert promised > 20.0


def test_cell_terms_add_up_to_the_evaluation():
    problem = with_patches(posed(nside=4), ss.Patches.multires(ss.Grid(4), beta_dust=2, beta_pl=1))
    terms, whole = problem.likelihood.cell_terms(problem.start), None
    whole = problem.likelihood.evaluate(problem.start)
    gathered = problem.likelihood.structure.gather(np.asarray(terms.gradient))
    np.testing.assert_allclose(gathered, whole.gradient, rtol=1e-10)
    curvature = problem.likelihood.structure.gather(curvatures(terms))
    np.testing.assert_allclose(curvature, whole.gauss_newton.diagonal, rtol=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_uniform_sky_keeps_one_patch(seed):
    fit = adaptive_patches(posed(nside=16, seed=seed))
    assert fit.patches.counts == {"beta_dust": 1, "temp_dust": 1, "beta_pl": 1}


def test_step_is_found():
    problem, north = stepped()
    fit = adaptive_patches(problem)
    beta = fit.patches.expand("beta_dust", fit.parameters["beta_dust"])
    assert fit.status.converged
    assert fit.patches.counts["beta_dust"] > 1
    assert fit.objective < solve(problem).objective - 100.0
    weight = curvatures(fit.problem.likelihood.cell_terms(fit.theta))[0]
    assert np.average(beta[north], weights=weight[north]) == pytest.approx(1.45, abs=0.03)
    assert np.average(beta[~north], weights=weight[~north]) == pytest.approx(1.65, abs=0.03)


def test_trees_nest_and_stop_at_the_grid():
    grid = ss.Grid.from_mask(ss.galactic_mask("GAL060", 4))
    tree = Tree.whole(grid)
    assert np.all(tree.labels() == 0)
    chosen = np.zeros(grid.size, bool)
    for _ in range(5):
        chosen |= True
        tree = tree.split(chosen)
    np.testing.assert_array_equal(tree.order, 2)
    assert tree.labels().max() == grid.size - 1
    half = Tree.whole(grid).split(grid.vectors()[:, 2] > 0)
    finer = half.split(half.order == 0)
    pairs = set(zip(half.labels().tolist(), finer.labels().tolist(), strict=True))
    assert len(pairs) == finer.labels().max() + 1


def test_informed_patches_reach_the_error_asked_for():
    problem = posed(nside=8)
    fit = solve(problem)
    fine = informed_patches(fit, {"beta_dust": 0.01})
    coarse = informed_patches(fit, {"beta_dust": 0.1})
    assert 1 < fine.counts["beta_dust"] < coarse.counts["beta_dust"]
    assert fine.counts["temp_dust"] == fine.counts["beta_pl"] == 1
    curvature = curvatures(problem.likelihood.cell_terms(fit.theta))[0]
    labels = fine.labels["beta_dust"]
    error = np.bincount(labels, curvature) ** -0.5
    # Children are split off together, where their average is known well enough.
    assert np.median(error) < 0.02


def test_scatter_is_learnt():
    """Indices that scatter by a known width about a known mean, a patch each."""
    sim = ss.simulate("c1d0s0", "LiteBIRD", nside=16, seed=0, noise_ratio=0.05)
    clean = ss.simulate("c1d0s0", "LiteBIRD", nside=16, seed=0, noise_ratio=0.0)
    problem = with_patches(
        pose(clean.maps, "LiteBIRD"), ss.Patches.multires(clean.maps.grid, beta_dust=4)
    )
    fit = solve(problem)
    beta = 1.5 + 0.03 * np.random.default_rng(0).standard_normal(192)
    theta = fit.theta[problem.likelihood.structure.index]
    theta[0] = beta[problem.patches.labels["beta_dust"]]
    noise = np.asarray(sim.maps.values) - np.asarray(clean.maps.values)
    maps = clean.maps.replace(emitted(problem, theta, fit.components) + noise)
    weights = dataclasses.replace(problem.likelihood, weights=problem.likelihood.weights / 0.05**2)
    noisy = dataclasses.replace(problem, likelihood=weights).with_maps(maps)
    prior = learn_priors(solve(noisy))["beta_dust"]
    assert prior.mean == pytest.approx(beta.mean(), abs=0.003)
    assert prior.sigma == pytest.approx(beta.std(), rel=0.1)
    assert learn_priors(solve(noisy), relax=4.0)["beta_dust"].sigma == pytest.approx(
        4.0 * prior.sigma
    )


def test_scatter_of_a_uniform_sky_is_small():
    priors = learn_scatter(posed(nside=8))
    assert set(priors) == {"beta_dust", "temp_dust", "beta_pl"}
    assert priors["beta_dust"].sigma < 0.05
    assert priors["beta_dust"].mean == pytest.approx(1.54, abs=0.02)


def test_what_cannot_be_adapted_is_refused():
    problem = posed(nside=4)
    with pytest.raises(ValueError, match="threshold: expected more than 0.5"):
        adaptive_patches(problem, threshold=0.4)
    fit = solve(problem)
    with pytest.raises(ValueError, match="errors: expected a positive number"):
        informed_patches(fit, {"beta_dust": 0.0})
    with pytest.raises(ValueError, match="errors: expected a positive number"):
        informed_patches(fit, {"nothing": 1.0})
    with pytest.raises(ValueError, match="relax: expected a positive factor"):
        learn_priors(fit, relax=0.0)
    unit = pose(problem.maps, "LiteBIRD", noise=UnitWeights())
    for refused in (adaptive_patches, learn_scatter):
        with pytest.raises(ValueError, match="inverse noise variances"):
            refused(unit)
    with pytest.raises(ValueError, match="priors: expected free parameters"):
        with_priors(problem, {"nothing": ss.GaussianPrior(0.0, 1.0)})
    with pytest.raises(ValueError, match="patches: expected patches of"):
        with_patches(problem, ss.Patches.multires(ss.Grid(8), beta_dust=1))
