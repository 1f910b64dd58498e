"""Estimates with standard errors from samples: free energies, reweighting, resampling, chains and their diagnostics.

Works on arrays and knows no model. The statistics of tag sequences and phase edges (`criticality`, `order_parameter`,
`finite_size`, `smooth`, `crossings`) are imported from their modules.
"""

from heatbath.estimate.best_of_n import best_of_n_score, bootstrap_means, is_tied_with_best, majority_vote_score
from heatbath.estimate.bridge import bar, combine_replicates, log_mean
from heatbath.estimate.estimate import Estimate
from heatbath.estimate.hamiltonian import HMC
from heatbath.estimate.jarzynski import (
    LogRatioBounds,
    WeightedWalkers,
    bound_log_ratio,
    build_move,
    interpolate_energies,
    run_annealed_importance_sampling,
    run_corrected_langevin,
)
from heatbath.estimate.ladder_spacing import (
    build_ladder,
    count_rungs,
    exchange_rate,
    exchange_rates,
    thermodynamic_length,
)
from heatbath.estimate.langevin import MALA, ULA, Walkers, WalkerTrajectories, run_kernel, tune_step_size
from heatbath.estimate.mcmc_diagnostics import (
    AcceptanceSummary,
    autocorrelation,
    autocorrelation_time,
    effective_steps,
    estimate_mean,
    jackknife,
    r_hat,
    summarize_acceptance,
)
from heatbath.estimate.population_diagnostics import independence_acceptance, weighted_r_hat
from heatbath.estimate.resample import (
    conditional_multinomial,
    ess,
    genealogical_ess,
    genealogical_variance,
    normalize_log_weights,
    resample_particles,
)
from heatbath.estimate.reweighting import (
    balance_weights,
    effective_size,
    temperature_response,
    weighted_covariance,
    weighted_mean,
)

__all__ = [
    "HMC",
    "MALA",
    "ULA",
    "AcceptanceSummary",
    "Estimate",
    "LogRatioBounds",
    "WalkerTrajectories",
    "Walkers",
    "WeightedWalkers",
    "autocorrelation",
    "autocorrelation_time",
    "balance_weights",
    "bar",
    "best_of_n_score",
    "bootstrap_means",
    "bound_log_ratio",
    "build_ladder",
    "build_move",
    "combine_replicates",
    "conditional_multinomial",
    "count_rungs",
    "effective_size",
    "effective_steps",
    "ess",
    "estimate_mean",
    "exchange_rate",
    "exchange_rates",
    "genealogical_ess",
    "genealogical_variance",
    "independence_acceptance",
    "interpolate_energies",
    "is_tied_with_best",
    "jackknife",
    "log_mean",
    "majority_vote_score",
    "normalize_log_weights",
    "r_hat",
    "resample_particles",
    "run_annealed_importance_sampling",
    "run_corrected_langevin",
    "run_kernel",
    "summarize_acceptance",
    "temperature_response",
    "thermodynamic_length",
    "tune_step_size",
    "weighted_covariance",
    "weighted_mean",
    "weighted_r_hat",
]
