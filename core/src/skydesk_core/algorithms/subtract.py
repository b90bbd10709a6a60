"""Image subtraction after Alard & Lupton (1998) with a spatially varying kernel and decorrelation (DMTN-021)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.signal import oaconvolve

from skydesk_core.algorithms.planes import BAD, CR, NO_DATA, SAT
from skydesk_core.algorithms.psfgrid import PsfGrid
from skydesk_core.algorithms.warp import Planes
from skydesk_core.errors import DataError
from skydesk_core.kernels.matching import convolve_blocks

__all__ = ["MatchingKernel", "Subtraction", "decorrelation_kernel", "fit_matching_kernel", "subtract_images"]

_DEGREES = (4, 2, 2)
_BLOCK = 64
_UNUSABLE = NO_DATA | BAD | SAT | CR


@dataclass(frozen=True)
class MatchingKernel:
    """A convolution kernel that varies over the image.

    Parameters
    ----------
    basis
        Array (basis, k, k); the first sums to one, all others to zero, so that the photometric scale
        does not vary.
    coefficients
        Array (basis, spatial term).
    order
        Order of the spatial polynomials.
    shape
        Shape (y, x) of the image they are defined on.
    background
        Constant difference between the images, in their unit.
    used
        Number of stamps in the fit.
    chi2
        Median reduced chi squared of these stamps.
    """

    basis: np.ndarray
    coefficients: np.ndarray
    order: int
    shape: tuple[int, int]
    background: float
    used: int
    chi2: float

    @property
    def scale(self) -> float:
        """Sum of the kernel: ratio of the photometric scales."""
        return float(self.coefficients[0, 0])

    def at(self, x: float, y: float) -> np.ndarray:
        """Return the kernel (k, k) at a position in pixels."""
        terms = _spatial_terms(np.array([x]), np.array([y]), self.order, self.shape)[0]
        return np.tensordot(self.coefficients @ terms, self.basis, axes=1)


@dataclass
class Subtraction:
    """A difference image and what made it.

    Parameters
    ----------
    planes
        Science minus matched template; white noise, variance scaled to the scatter that is found.
    psf
        PSF of a source in the difference.
    kernel
        The matching kernel.
    convolved_science
        True if the science image was convolved instead of the template, because its seeing was better.
    variance_scale
        Factor, at least one, by which the propagated variance was multiplied.
    matched
        The template as it was subtracted, in the science image's unit.
    """

    planes: Planes
    psf: PsfGrid
    kernel: MatchingKernel
    convolved_science: bool
    variance_scale: float
    matched: np.ndarray


def _spatial_terms(x: np.ndarray, y: np.ndarray, order: int, shape: tuple[int, int]) -> np.ndarray:
    """Polynomials (n, terms) of positions scaled to [-1, 1]."""
    u = 2 * np.asarray(x, float) / max(shape[1] - 1, 1) - 1
    v = 2 * np.asarray(y, float) / max(shape[0] - 1, 1) - 1
    return np.stack([u**i * v**j for n in range(order + 1) for j in range(n + 1) for i in [n - j]], axis=1)


def _make_lines(sigmas_px: tuple[float, ...], half: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """One-dimensional factors (line, k) and the pairs (y line, x line) that make the basis."""
    t = np.arange(-half, half + 1, dtype=float)
    lines: list[np.ndarray] = []
    pairs: list[tuple[int, int]] = []
    for sigma, degree in zip(sigmas_px, _DEGREES, strict=True):
        first = len(lines)
        lines.extend((t / sigma) ** n * np.exp(-0.5 * (t / sigma) ** 2) for n in range(degree + 1))
        pairs.extend((first + j, first + i) for i in range(degree + 1) for j in range(degree + 1 - i))
    return np.array(lines), pairs


def _normalised(products: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Turn products (…, basis, y, x) of lines into a basis whose sums are one, then zero."""
    scale = np.where(np.abs(sums) > 1e-6 * np.abs(sums).max(), 1.0 / np.where(sums == 0, 1, sums), 0.0)
    even = scale != 0
    out = products * np.where(even, scale, 1.0)[:, None, None]
    return np.where((even & (np.arange(len(sums)) > 0))[:, None, None], out - out[..., :1, :, :], out)


def _cut(array: np.ndarray, x: np.ndarray, y: np.ndarray, half: int) -> np.ndarray:
    """Stamps (n, s, s) around the pixels nearest to the positions."""
    windows = np.lib.stride_tricks.sliding_window_view(array, (2 * half + 1, 2 * half + 1))
    return windows[np.round(y).astype(int) - half, np.round(x).astype(int) - half]


def fit_matching_kernel(
    blurred: Planes,
    reference: Planes,
    x: np.ndarray,
    y: np.ndarray,
    sigmas_px: tuple[float, float, float],
    kernel_half: int = 10,
    stamp_half: int = 12,
    order: int = 1,
) -> MatchingKernel:
    """Fit the kernel that turns one image into another, on stamps around stars.

    Parameters
    ----------
    blurred
        The image to be convolved.
    reference
        The image it shall look like.
    x, y
        Positions of the stamps in pixels, brightest first.
    sigmas_px
        Widths of the three Gaussians.
    kernel_half, stamp_half
        Half sides of kernel and stamps in pixels.
    order
        Order of the spatial variation; lowered when stars are few.

    Raises
    ------
    DataError
        If fewer than three stamps are usable.
    """
    reach = kernel_half + stamp_half + 1
    ny, nx = reference.image.shape
    inside = (x > reach) & (y > reach) & (x < nx - 1 - reach) & (y < ny - 1 - reach)
    x, y = x[inside], y[inside]
    if len(x):
        bad = _cut((blurred.mask & _UNUSABLE) != 0, x, y, stamp_half + kernel_half).any(axis=(1, 2))
        bad |= _cut((reference.mask & _UNUSABLE) != 0, x, y, stamp_half).any(axis=(1, 2))
        x, y = x[~bad], y[~bad]
    if len(x) < 3:
        raise DataError(f"image subtraction needs 3 usable stars for the matching kernel, found {len(x)}")
    lines, pairs = _make_lines(sigmas_px, kernel_half)
    kernels = np.array([np.outer(lines[j], lines[i]) for j, i in pairs])
    sums = kernels.sum(axis=(1, 2))
    basis = _normalised(kernels, sums)
    # Stamps convolved with separable factors: a Toeplitz matrix on each side.
    side = 2 * stamp_half + 1
    toeplitz = np.zeros((len(lines), side, side + 2 * kernel_half))
    for i in range(side):
        toeplitz[:, i, i : i + 2 * kernel_half + 1] = lines[:, ::-1]
    cut = _cut(blurred.image, x, y, stamp_half + kernel_half).astype(np.float64)
    rows = np.einsum("lij,njk->lnik", toeplitz, cut, optimize=True)
    models = np.stack([rows[j] @ toeplitz[i].T for j, i in pairs], axis=1)
    models = _normalised(models, sums)
    data = _cut(reference.image, x, y, stamp_half).astype(np.float64)
    noise = _cut(reference.variance, x, y, stamp_half) + _cut(blurred.variance, x, y, stamp_half)
    design = np.concatenate([models, np.ones((len(x), 1, side, side))], axis=1).reshape(
        len(x), -1, side * side
    )
    weighted = design / noise.reshape(len(x), 1, -1)
    normal = weighted @ design.transpose(0, 2, 1)
    right = np.einsum("nbp,np->nb", weighted, data.reshape(len(x), -1))
    total = np.einsum("np,np->n", data.reshape(len(x), -1) ** 2, 1.0 / noise.reshape(len(x), -1))
    return _solve(normal, right, total, x, y, basis, order, (ny, nx), side * side)


def _solve(
    normal: np.ndarray,
    right: np.ndarray,
    total: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    basis: np.ndarray,
    order: int,
    shape: tuple[int, int],
    pixels: int,
) -> MatchingKernel:
    """Solve the joint normal equations of all stamps, leaving out those that do not fit."""
    count = len(basis)
    good = np.ones(len(x), bool)
    for turn in range(4):
        use = min(order, 2 if good.sum() >= 40 else 1 if good.sum() >= 12 else 0)
        terms = _spatial_terms(x, y, use, shape)
        # One coefficient for the first kernel and for the background, a polynomial for each of the others.
        owner = np.concatenate([[0], np.repeat(np.arange(1, count), terms.shape[1]), [count]])
        term = np.concatenate([[0], np.tile(np.arange(terms.shape[1]), count - 1), [0]])
        factor = terms[:, term]
        matrix = np.einsum(
            "nab,na,nb->ab", normal[good][:, owner][:, :, owner], factor[good], factor[good], optimize=True
        )
        vector = np.einsum("na,na->a", right[good][:, owner], factor[good])
        scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        scaled = matrix * scale[:, None] * scale[None, :]
        scaled[np.diag_indices_from(scaled)] += 1e-9
        solution = scale * np.linalg.solve(scaled, vector * scale)
        local = np.zeros((len(x), count + 1))
        np.add.at(local.T, owner, (solution * factor).T)
        chi2 = (
            total - 2 * np.einsum("nb,nb->n", local, right) + np.einsum("na,nab,nb->n", local, normal, local)
        )
        chi2 /= pixels
        limit = np.median(chi2[good]) + 4 * 1.4826 * np.median(np.abs(chi2[good] - np.median(chi2[good])))
        keep = chi2 <= max(limit, 1.5)
        if turn == 3 or keep.sum() < 3 or np.array_equal(keep, good):
            break
        good = keep
    coefficients = np.zeros((count, terms.shape[1]))
    coefficients[owner[:-1], term[:-1]] = solution[:-1]
    return MatchingKernel(
        basis, coefficients, use, shape, float(solution[-1]), int(good.sum()), float(np.median(chi2[good]))
    )


def _convolve(planes: Planes, kernel: MatchingKernel) -> Planes:
    """Convolve planes with the varying kernel; NO_DATA spreads over the kernel, SAT and BAD over its core."""
    half = kernel.basis.shape[1] // 2
    ny, nx = planes.image.shape
    rows = [
        [kernel.at(min(i + _BLOCK / 2, nx - 1), min(j + _BLOCK / 2, ny - 1)) for i in range(0, nx, _BLOCK)]
        for j in range(0, ny, _BLOCK)
    ]
    empty = ((planes.mask & NO_DATA) != 0) | ~np.isfinite(planes.image) | ~np.isfinite(planes.variance)
    image = np.pad(np.where(empty, 0, planes.image).astype(np.float32), half)
    variance = np.pad(np.where(empty, 0, planes.variance).astype(np.float32), half)
    out = Planes.empty((ny, nx))
    convolve_blocks(image, variance, np.array(rows, dtype=np.float32), _BLOCK, out.image, out.variance)
    out.mask[...] = planes.mask
    for plane, reach in ((SAT, 2), (BAD, 2), (NO_DATA, half)):
        found = empty if plane == NO_DATA else (planes.mask & plane) != 0
        if found.any():
            spread = binary_dilation(found, structure=np.ones((3, 3), bool), iterations=reach)
            out.mask[spread] |= np.int32(plane)
    return out


def decorrelation_kernel(
    kernel: np.ndarray, reference_variance: float, convolved_variance: float
) -> np.ndarray:
    """Return the kernel that makes the noise of a difference white (DMTN-021).

    Parameters
    ----------
    kernel
        Matching kernel (k, k) with which the one image was convolved.
    reference_variance
        Variance per pixel of the image that was not convolved.
    convolved_variance
        Variance per pixel of the other before its convolution.

    Returns
    -------
    numpy.ndarray
        Kernel (m, m) with odd m.
    """
    size = 2 * kernel.shape[0] + 1
    padded = np.zeros((size, size))
    half = kernel.shape[0] // 2
    middle = size // 2
    padded[middle - half : middle + half + 1, middle - half : middle + half + 1] = kernel
    power = np.abs(np.fft.fft2(np.fft.ifftshift(padded))) ** 2
    response = np.sqrt(
        (reference_variance + convolved_variance) / (reference_variance + convolved_variance * power)
    )
    whitening = np.fft.fftshift(np.real(np.fft.ifft2(response)))
    # The sum stays one, so that fluxes and the PSF's normalisation do not change.
    return whitening / whitening.sum()


def subtract_images(
    science: Planes,
    template: Planes,
    science_psf: PsfGrid,
    template_psf: PsfGrid,
    x: np.ndarray,
    y: np.ndarray,
    order: int = 1,
    kernel_half: int = 10,
) -> Subtraction:
    """Subtract a template from a science image on the same pixels.

    The image of better seeing is convolved to match the other; the difference is always science minus
    template in the science image's unit.

    Parameters
    ----------
    science, template
        The images.
    science_psf, template_psf
        Their PSFs.
    x, y
        Stars for the kernel, brightest first, in pixels.
    order
        Order of the kernel's spatial variation, at most 2.
    kernel_half
        Largest half side of the kernel in pixels.

    Raises
    ------
    DataError
        If too few stars are usable.
    """
    swap = science_psf.sigma < template_psf.sigma
    blurred, reference = (science, template) if swap else (template, science)
    sharp, wide = sorted((science_psf.sigma, template_psf.sigma))
    width = max(float(np.sqrt(max(wide**2 - sharp**2, 0.0))), 0.6)
    sigmas = (0.7 * width, 1.3 * width, 2.4 * width)
    # Beyond three widths of its widest Gaussian the kernel holds nothing but costs time.
    half = min(kernel_half, int(np.ceil(3 * sigmas[2])) + 1)
    kernel = fit_matching_kernel(blurred, reference, x, y, sigmas, half, order=order)
    matched = _convolve(blurred, kernel)
    sign = -1.0 if swap else 1.0
    image = sign * (reference.image - matched.image - kernel.background)
    mask = reference.mask | matched.mask
    unusable = (mask & NO_DATA) != 0
    usable = ((mask & _UNUSABLE) == 0) & np.isfinite(image)
    if not usable.any():
        raise DataError("image subtraction: science image and template have no usable pixel in common")
    noise_reference = float(np.median(reference.variance[usable]))
    noise_blurred = float(np.median(blurred.variance[usable]))
    central = kernel.at(image.shape[1] / 2, image.shape[0] / 2)
    whitening = decorrelation_kernel(central, noise_reference, noise_blurred)
    image = oaconvolve(np.where(unusable | ~np.isfinite(image), 0.0, image), whitening, mode="same")
    variance = reference.variance + np.where(np.isfinite(blurred.variance), blurred.variance, np.inf)
    if swap:
        # The science image's unit: its sources were scaled by the kernel's sum.
        image /= kernel.scale
        variance = variance / kernel.scale**2
    with np.errstate(invalid="ignore"):
        ratio = image[usable] / np.sqrt(variance[usable])
    # A template that holds the science image itself makes the noise smaller, but not where that image was
    # left out of it; errors are never made smaller than propagated.
    scale = max(float((1.4826 * np.median(np.abs(ratio - np.median(ratio)))) ** 2), 1.0)
    image = np.where(unusable, np.nan, image).astype(np.float32)
    planes = Planes(image, (variance * scale).astype(np.float32), mask.astype(np.int32))
    psf = _difference_psf(template_psf if swap else science_psf, whitening)
    model = (reference.image / kernel.scale if swap else matched.image + kernel.background).astype(np.float32)
    return Subtraction(planes, psf, kernel, swap, scale, model)


def _difference_psf(psf: PsfGrid, whitening: np.ndarray) -> PsfGrid:
    """Convolve a PSF with the decorrelation kernel."""
    side = max(psf.size, min(whitening.shape[0], 2 * psf.size + 1))
    pad = (side - psf.size) // 2
    cells = np.pad(psf.cells, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.array([[oaconvolve(cell, whitening, mode="same") for cell in row] for row in cells])
    return PsfGrid(out, psf.node_x, psf.node_y)
