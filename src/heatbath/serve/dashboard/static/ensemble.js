// One step as an ensemble: the most probable states as levels above the ground state, and the rest as one mass.

import { LogZ } from "./logz.js";

/**
 * The ensemble of a step. `top` are [text, log-probability at T = 1] of its most probable states, `drawn` the one that
 * was drawn; `record` has the columns of the step, with the nodes or without.
 */
export function ensembleOf({ top, drawn, record, betas }) {
  const all = top.some((state) => same(state, drawn)) ? top : [...top, drawn];
  const levels = all.map(([text, logprob]) => ({ text, logprob })).sort((a, b) => b.logprob - a.logprob);
  const ground = levels.length ? levels[0].logprob : 0;
  const nodes = record?.["nodes/log_z"];
  return {
    levels: levels.map((level, i) => ({
      text: level.text,
      excess: ground - level.logprob,
      rank: i + 1,
      drawn: same([level.text, level.logprob], drawn),
    })),
    ceiling: top.length ? ground - top[top.length - 1][1] : 0,
    logZ: nodes ? new LogZ(betas, nodes, record["nodes/mean_energy"], record["nodes/variance"]) : null,
    atOne: -ground,
    record: record ?? null,
  };
}

// Different tokens may have the same text: pieces of a letter, for one.
const same = (one, other) => one[0] === other[0] && Math.abs(one[1] - other[1]) < 1e-9;

/**
 * The ensemble at temperature T, without the model: probabilities of the levels, the mass of all other states, and
 * S, C and U. Null where the record does not reach: without nodes only T = 1 is known.
 */
export function reweigh(ensemble, temperature) {
  const beta = 1 / temperature;
  const state = ensemble.logZ ? ensemble.logZ.at(beta) : null;
  if (!state && temperature !== 1) return null;
  const logZ = state ? state.logZ : ensemble.atOne;
  const p = ensemble.levels.map((level) => Math.exp(-beta * level.excess - logZ));
  const rest = Math.max(0, 1 - p.reduce((sum, value) => sum + value, 0));
  return { temperature, p, rest, logZ, ...(state ?? { entropy: null, heatCapacity: null, meanEnergy: null }) };
}

/** S and C against T between the nodes, `count` points evenly in T. */
export function curves(ensemble, low, high, count = 121) {
  if (!ensemble.logZ) return [];
  const step = (high - low) / (count - 1);
  return Array.from({ length: count }, (_, i) => {
    const temperature = low + i * step;
    const state = ensemble.logZ.at(1 / temperature);
    return state && { temperature, entropy: state.entropy, heatCapacity: state.heatCapacity };
  }).filter(Boolean);
}
