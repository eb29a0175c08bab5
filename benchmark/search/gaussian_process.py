"""Gaussian process regression for a few dozen observations: exact, in NumPy, milliseconds for a fit.

Kernel: Matern 5/2 with a length scale for each feature, plus a linear kernel, so that the trend along a field continues
beyond the observed values. Hyperparameters are those of the highest posterior density (Rasmussen and Williams,
Gaussian Processes for Machine Learning, chapters 2 and 5); the length scales' prior moves with the square root of the
number of features (Hvarfner and others, arXiv 2402.02229).

Rounding differs between linear algebra libraries, and an optimizer ends at slightly different points with each of them.
So the optimum is approached until only that rounding is left, and hyperparameters are then rounded to a far coarser
grid: all else is computed from equal hyperparameters, and differs in the last digits alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

_ROOT5 = 5.0**0.5
_JITTER = 1e-8
# Mean and deviation of the normal priors of the logarithms: length scales (less half the logarithm of their number),
# variance of the Matern part, variance of the linear part, variance that no kernel explains (nugget).
_PRIOR_LENGTH, _PRIOR_MATERN, _PRIOR_LINEAR, _PRIOR_NUGGET = (0.0, 1.0), (0.0, 1.5), (-1.0, 1.5), (-9.0, 2.0)
_BOUNDS_LENGTH, _BOUNDS_MATERN, _BOUNDS_LINEAR, _BOUNDS_NUGGET = (-4, 5), (-5, 5), (-6, 4), (-14, 0)
_FIRST_NUGGET = -7.0
# Decimals of the hyperparameters, which are logarithms. Half of a hundredth is far below the uncertainty that
# the observations of a search leave.
DECIMALS = 2
# Two fields that were always varied together have equal slopes, and between the optima that prefer one of them lies a
# saddle, which only rounding would leave. So length scales start this much apart.
_APART = 0.05
# Options of L-BFGS-B; the second ones are used where the first end near no optimum.
_ATTEMPTS = ({"maxiter": 60}, {"maxiter": 300, "maxfun": 600, "ftol": 1e-14, "gtol": 1e-9})
# Newton's method: step of the finite differences, largest step, number of steps, and the step below which it has
# converged.
_DIFFERENCE, _LARGEST_STEP, _NEWTON_STEPS, _CONVERGED = 1e-4, 0.5, 20, 1e-6


def covariances(a: np.ndarray, b: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Computes the covariances of `kernel`, `[n, m]`, without their derivatives, which cost most where `m` is large."""
    features = a.shape[1]
    scales = np.exp(logs[:features])
    total = sum(((a[:, i, None] - b[None, :, i]) / scales[i]) ** 2 for i in range(features))
    distance = np.sqrt(total + 1e-20)
    matern: np.ndarray = (1 + _ROOT5 * distance + 5 / 3 * total) * np.exp(logs[features] - _ROOT5 * distance)
    return matern + np.exp(logs[features + 1]) * (a @ b.T)


def kernel(a: np.ndarray, b: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Computes the covariances of two sets of points and their derivatives.

    Args:
        a: `[n, features]`.
        b: `[m, features]`.
        logs: logarithms of the length scales, of the Matern variance and of the linear variance.

    Returns:
        Covariances `[n, m]`, and the derivative `[n, m]` by each of `logs`.
    """
    features = a.shape[1]
    squares = (a[:, None, :] - b[None]) ** 2 / np.exp(2 * logs[:features])
    total = squares.sum(-1)
    distance = np.sqrt(total + 1e-20)
    decay = np.exp(logs[features] - _ROOT5 * distance)
    matern = (1 + _ROOT5 * distance + 5 / 3 * total) * decay
    slope = 5 / 3 * (1 + _ROOT5 * distance) * decay
    linear = np.exp(logs[features + 1]) * (a @ b.T)
    return matern + linear, [*(slope * squares[:, :, i] for i in range(features)), matern, linear]


def negative_log_posterior(
    logs: np.ndarray, x: np.ndarray, y: np.ndarray, noise: np.ndarray
) -> tuple[float, np.ndarray]:
    """Computes the negative logarithm of marginal likelihood times prior, up to a constant, and its gradient.

    Rasmussen and Williams, equations 2.30 and 5.9.

    Args:
        logs: the kernel's hyperparameters and the logarithm of the nugget.
        x: `[n, features]`.
        y: standardised values `[n]`.
        noise: known variances of `y`, `[n]`.
    """
    covariance, derivatives = kernel(x, x, logs[:-1])
    nugget = np.exp(logs[-1])
    covariance[np.diag_indices(len(y))] += nugget + noise + _JITTER
    try:
        root = cholesky(covariance, lower=True)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(logs)
    inverse = cho_solve((root, True), np.eye(len(y)))
    weights = inverse @ y
    value = 0.5 * y @ weights + np.log(np.diag(root)).sum() + 0.5 * len(y) * np.log(2 * np.pi)
    inner = 0.5 * (inverse - np.outer(weights, weights))
    gradient = np.array([*((inner * d).sum() for d in derivatives), nugget * np.trace(inner)])
    mean, deviation = _prior(x.shape[1])
    z = (logs - mean) / deviation
    return value + 0.5 * (z**2).sum(), gradient + z / deviation


def _prior(features: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns means and deviations of the priors, in the order of the hyperparameters."""
    length = (_PRIOR_LENGTH[0] + 0.5 * np.log(features), _PRIOR_LENGTH[1])
    both = np.array([*[length] * features, _PRIOR_MATERN, _PRIOR_LINEAR, _PRIOR_NUGGET])
    return both[:, 0], both[:, 1]


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process; `fit` makes it."""

    # Observed points, [n, features].
    x: np.ndarray
    # Standardised values, [n].
    y: np.ndarray
    # Known variances in standardised units, [n].
    noise: np.ndarray
    # Hyperparameters, as `negative_log_posterior` takes them.
    logs: np.ndarray
    # Logarithm of the posterior density of values and hyperparameters, in units of the values.
    log_evidence: float
    # Mean of the values.
    centre: float
    # Standard deviation of the values.
    spread: float

    def predict(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predicts mean and standard deviation `[m]` of the function, without noise, at `points` `[m, features]`."""
        covariance = covariances(self.x, self.x, self.logs[:-1])
        covariance[np.diag_indices(len(self.y))] += np.exp(self.logs[-1]) + self.noise + _JITTER
        # Rasmussen and Williams, algorithm 2.1; `cross` and `half` are [n, m].
        root = cholesky(covariance, lower=True)
        cross = covariances(self.x, points, self.logs[:-1])
        half = solve_triangular(root, cross, lower=True)
        mean = half.T @ solve_triangular(root, self.y, lower=True)
        features = self.x.shape[1]
        own = np.exp(self.logs[features]) + np.exp(self.logs[features + 1]) * (points**2).sum(1)
        variance = np.maximum(own - (half**2).sum(0), 1e-12)
        return self.centre + self.spread * mean, self.spread * np.sqrt(variance)

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicts mean and standard deviation of the function, without noise, at each observed point from the others.

        The hyperparameters stay those of all points, so one inverse serves all (Rasmussen and Williams, 5.4.2).
        """
        covariance = covariances(self.x, self.x, self.logs[:-1])
        noise = np.exp(self.logs[-1]) + self.noise + _JITTER
        covariance[np.diag_indices(len(self.y))] += noise
        inverse = cho_solve((cholesky(covariance, lower=True), True), np.eye(len(self.y)))
        variance = 1.0 / np.diag(inverse)
        mean = self.y - variance * (inverse @ self.y)
        return self.centre + self.spread * mean, self.spread * np.sqrt(np.maximum(variance - noise, 1e-12))

    def condition_on_mean(self, points: np.ndarray) -> GaussianProcess:
        """Conditions the process on its own mean at `points`: the mean stays, the uncertainty shrinks."""
        mean = (self.predict(points)[0] - self.centre) / self.spread
        return GaussianProcess(
            np.concatenate([self.x, points]),
            np.concatenate([self.y, mean]),
            np.concatenate([self.noise, np.zeros(len(points))]),
            self.logs,
            self.log_evidence,
            self.centre,
            self.spread,
        )


def fit(x: np.ndarray, values: np.ndarray, stderr: np.ndarray, start: np.ndarray | None = None) -> GaussianProcess:
    """Fits hyperparameters, and rounds them to `DECIMALS`.

    Args:
        x: observed points `[n, features]`, about the size of one around zero.
        values: observed values `[n]`.
        stderr: their standard errors `[n]`, 0 for exact values.
        start: hyperparameters to start from, for example those of a similar fit; the prior's mean by default.
    """
    centre, spread = float(values.mean()), float(values.std())
    # Equal values may differ from their mean in its last digit.
    spread = spread if spread > 1e-9 * max(1.0, abs(centre)) else 1.0
    y, noise = (values - centre) / spread, (stderr / spread) ** 2
    features = x.shape[1]
    mean, _ = _prior(features)
    mean[-1] = _FIRST_NUGGET
    bounds = [*[_BOUNDS_LENGTH] * features, _BOUNDS_MATERN, _BOUNDS_LINEAR, _BOUNDS_NUGGET]
    first = (mean if start is None else start).copy()
    first[:features] += _APART * np.linspace(-1.0, 1.0, features)
    logs = np.clip(first, *np.array(bounds, float).T)
    for options in _ATTEMPTS:
        end = minimize(
            negative_log_posterior,
            logs,
            args=(x, y, noise),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options=options,
        ).x
        logs, converged = _polish(end, np.array(bounds, float), x, y, noise)
        if converged:
            break
    # The bounds are whole numbers, so rounding crosses none of them.
    logs = np.round(logs, DECIMALS)
    evidence = -float(negative_log_posterior(logs, x, y, noise)[0]) - len(y) * float(np.log(spread))
    return GaussianProcess(x, y, noise, logs, evidence, centre, spread)


def _polish(
    logs: np.ndarray, bounds: np.ndarray, x: np.ndarray, y: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Finds the optimum next to the point where L-BFGS-B stopped, up to the rounding of the gradient.

    L-BFGS-B stops when its tests are met, often a thousandth away from the optimum. Newton's method with the Hessian
    of the first point, by differences of the gradient, comes closer by a constant factor with each step, and ends at
    the same point from all points near it.

    Args:
        logs: hyperparameters within the bounds.
        bounds: lowest and highest value of each, `[hyperparameters, 2]`.
        x: `[n, features]`.
        y: standardised values `[n]`.
        noise: known variances of `y`, `[n]`.

    Returns:
        The optimum and True; `logs` and False where there is none near them, as at a saddle.
    """

    def gradient(at: np.ndarray) -> np.ndarray:
        return negative_log_posterior(at, x, y, noise)[1]

    low, high = bounds.T
    slope = gradient(logs)
    hessian = np.array([gradient(logs + step) - slope for step in _DIFFERENCE * np.eye(len(logs))]) / _DIFFERENCE
    hessian = 0.5 * (hessian + hessian.T)
    optimum, last = logs, 2 * _LARGEST_STEP
    for _ in range(_NEWTON_STEPS):
        # A hyperparameter stays at its bound while the gradient points beyond it.
        free = np.flatnonzero(~(((optimum <= low) & (slope > 0)) | ((optimum >= high) & (slope < 0))))
        step = np.zeros_like(logs)
        try:
            if len(free):
                step[free] = -cho_solve((cholesky(hessian[np.ix_(free, free)], lower=True), True), slope[free])
        except np.linalg.LinAlgError:
            break
        moved = np.clip(optimum + step, low, high)
        length = float(np.abs(moved - optimum).max())
        # Steps that no longer shrink are rounding, or diverge.
        if length > 0.5 * last:
            break
        optimum, last = moved, length
        slope = gradient(optimum)
    return (optimum, True) if last < _CONVERGED else (logs, False)
