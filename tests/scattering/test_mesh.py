"""Neighbours of cells, and maps continued into masked cells."""

import functools
import itertools

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

from skysift.scattering.mesh import FlatMesh, SphereMesh

from .fields import red_alm

NSIDE = 16


@pytest.fixture(params=[(15,), (8, 9), (4, 6, 5), (7, 1), "sphere"], ids=str)
def mesh(request):
    return SphereMesh(8) if request.param == "sphere" else FlatMesh(request.param)


def random_maps(mesh, count=3):
    rng = np.random.default_rng(1)
    shape = (768,) if isinstance(mesh, SphereMesh) else mesh.shape
    return rng.standard_normal((count, *shape)), rng.random(shape) > 0.6


@functools.partial(jax.jit, static_argnums=0)
def continued(mesh, maps, kept):
    return mesh.continued(maps, kept)


def test_tiles_are_all_cells_once(mesh):
    maps, _ = random_maps(mesh)
    np.testing.assert_array_equal(mesh.untiled(mesh.tiles(jnp.asarray(maps))), maps)


@pytest.mark.parametrize("shape", [(15,), (8, 9), (4, 6, 5)])
def test_neighbours_of_flat_cells(shape):
    mesh = FlatMesh(shape)
    maps, _ = random_maps(mesh)
    axes = tuple(range(1, maps.ndim))
    box = sum(
        np.roll(maps, shift, axes) for shift in itertools.product((-1, 0, 1), repeat=len(axes))
    )
    found = mesh.untiled(mesh.around(mesh.tiles(jnp.asarray(maps))))
    np.testing.assert_allclose(found, (box - maps) / (3.0 ** len(axes) - 1.0), atol=1e-13)


@pytest.mark.parametrize("nside", [1, 2, 8])
def test_neighbours_of_cells_of_the_sphere(nside):
    mesh = SphereMesh(nside)
    maps = np.random.default_rng(2).standard_normal((2, 12 * nside**2))
    around = hp.get_all_neighbours(nside, np.arange(maps.shape[-1]))
    around = np.where(around < 0, np.arange(maps.shape[-1]), around)
    found = mesh.untiled(mesh.around(mesh.tiles(jnp.asarray(maps))))
    np.testing.assert_allclose(found, maps[:, around].mean(axis=1), atol=1e-13)


def test_what_is_masked_does_not_count(mesh):
    maps, kept = random_maps(mesh)
    found = np.asarray(continued(mesh, np.where(kept, maps, np.nan), kept))
    np.testing.assert_array_equal(found[:, kept], maps[:, kept])
    other = continued(mesh, np.where(kept, maps, 1e3), kept)
    np.testing.assert_array_equal(other, found)
    # Nothing goes beyond the kept values, and constants stay as they are.
    for one, full in zip(found, maps, strict=True):
        assert full[kept].min() <= one.min()
        assert one.max() <= full[kept].max()
    constant = continued(mesh, np.full(maps.shape, 7.0), kept)
    np.testing.assert_allclose(constant, 7.0, rtol=1e-13)


def test_single_holes_have_the_mean_of_their_neighbours(mesh):
    maps, kept = random_maps(mesh)
    kept = np.ones_like(kept)
    kept.flat[3] = False
    found = np.asarray(continued(mesh, maps, kept))
    around = np.asarray(mesh.untiled(mesh.around(mesh.tiles(jnp.asarray(found)))))
    hole = (slice(None), *np.unravel_index(3, kept.shape))
    if 1 not in kept.shape:
        np.testing.assert_allclose(found[hole], around[hole], rtol=1e-12)


def test_continuation_is_close_to_the_harmonic_function():
    cells = np.arange(12 * NSIDE**2)
    theta, _ = hp.pix2ang(NSIDE, cells)
    kept = np.abs(np.degrees(theta) - 90.0) > 20.0
    x = hp.alm2map(red_alm(24, 3, slope=1.75), NSIDE, lmax=24)
    around = hp.get_all_neighbours(NSIDE, cells)
    column, row = around[around >= 0], np.broadcast_to(cells, around.shape)[around >= 0]
    graph = scipy.sparse.csr_array((np.ones(row.size), (row, column)), shape=(cells.size,) * 2)
    laplace = (scipy.sparse.diags_array(graph.sum(axis=1)) - graph).tocsr()[~kept]
    exact = scipy.sparse.linalg.spsolve(laplace[:, ~kept].tocsc(), -laplace[:, kept] @ x[kept])
    found = np.asarray(continued(SphereMesh(NSIDE), x, kept))[~kept]
    step = np.sqrt(np.mean((exact - x[kept].mean()) ** 2))
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.2 * step


def test_continuation_is_linear(mesh):
    maps, kept = map(jnp.asarray, random_maps(mesh))

    def linear(one):
        return continued(mesh, one, kept)

    value, slope = jax.jvp(linear, (maps,), (maps[::-1],))
    np.testing.assert_allclose(slope, value[::-1], atol=1e-13)
    (back,) = jax.vjp(linear, maps)[1](maps)
    np.testing.assert_allclose(np.sum(back * maps[::-1]), np.sum(maps * slope), rtol=1e-11)
    assert np.all(np.asarray(back)[:, ~np.asarray(kept)] == 0.0)
