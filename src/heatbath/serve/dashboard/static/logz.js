// log Z at any temperature between nodes. In x = ln beta a node gives f = log Z, f' = -beta U and
// f'' = beta (beta Var E - U); the interpolant matches all three at the four nearest nodes. Energies are relative to
// the ground state, in nats. A jet is [value, first derivative, second derivative].

const STENCIL = 4;
const ROUNDING = 1e-9;

const multiply = (f, g) => [f[0] * g[0], f[1] * g[0] + f[0] * g[1], f[2] * g[0] + 2 * f[1] * g[1] + f[0] * g[2]];

const polynomial = (s, [c0, c1, c2]) => [c0 + s * (c1 + s * c2), c1 + 2 * s * c2, 2 * c2];

/** Jets at x of the polynomials that carry the value, slope and bend of node j and nothing else. */
function cardinals(x, nodes, j) {
  const s = x - nodes[j];
  let lagrange = [1, 0, 0];
  let a = 0;
  let squares = 0;
  nodes.forEach((node, i) => {
    if (i === j) return;
    const inverse = 1 / (nodes[j] - node);
    a += inverse;
    squares += inverse * inverse;
    lagrange = multiply(lagrange, [1 + s * inverse, inverse, 0]);
  });
  const b = 0.5 * (a * a - squares);
  const cube = multiply(lagrange, multiply(lagrange, lagrange));
  const data = [
    [1, -3 * a, 6 * a * a - 3 * b],
    [0, 1, -3 * a],
    [0, 0, 0.5],
  ];
  return data.map((coefficients) => multiply(cube, polynomial(s, coefficients)));
}

/** log Z of one ensemble from what its record kept at the nodes. */
export class LogZ {
  constructor(betas, logZ, meanEnergy, variance) {
    this.betas = betas;
    this.grid = betas.map(Math.log);
    this.data = betas.map((beta, k) => [logZ[k], -beta * meanEnergy[k], beta * (beta * variance[k] - meanEnergy[k])]);
  }

  /** Whether beta lies within the nodes. */
  covers(beta) {
    const last = this.betas[this.betas.length - 1];
    return beta >= this.betas[0] * (1 - ROUNDING) && beta <= last * (1 + ROUNDING);
  }

  /** log Z, mean energy, entropy and heat capacity at beta; null outside the nodes. */
  at(beta) {
    if (!this.covers(beta)) return null;
    const [value, slope, bend] = this.jet(Math.log(beta));
    return { logZ: value, meanEnergy: -slope / beta, entropy: value - slope, heatCapacity: Math.max(bend - slope, 0) };
  }

  jet(x) {
    const above = this.grid.findIndex((node) => node > x);
    const last = this.grid.length - 2;
    const left = Math.min(Math.max((above < 0 ? last + 1 : above) - 1, 0), last);
    const width = Math.min(STENCIL, this.grid.length);
    const start = Math.min(Math.max(left - width / 2 + 1, 0), this.grid.length - width);
    const nodes = this.grid.slice(start, start + width);
    const sum = [0, 0, 0];
    for (let j = 0; j < width; j++) {
      cardinals(x, nodes, j).forEach((jet, datum) => {
        for (let order = 0; order < 3; order++) sum[order] += jet[order] * this.data[start + j][datum];
      });
    }
    return sum;
  }
}
