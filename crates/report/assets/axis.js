"use strict";
// Of the report and of the live page.

// The places of a logarithmic axis, as many in a decade as there is room for; of what is counted only whole numbers.
const logTicks = (plot, axis, low, high) => {
  const steps = Math.log10(high / low) > 2.2 ? [1] : Math.log10(high / low) > 0.9 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const ticks = [];
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade++) {
    for (const step of steps) {
      const value = step * 10 ** decade;
      if (value >= low && value <= high) ticks.push(value);
    }
  }
  return ticks;
};
const wholeTicks = (...given) => logTicks(...given).filter(Number.isInteger);
