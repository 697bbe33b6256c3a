// The histogram of probabilities, of one class or of all, and its threshold.

const BINS = 100;        // as fine as the slider's steps
const BARS = 50;         // drawn, two bins each
const PLOT_HEIGHT = 48;  // of the drawing, whose width is 100

const emptyBins = () => ({count: new Uint32Array(BINS + 1), sum: new Float64Array(BINS + 1)});

function addToBins({count, sum}, chance) {
  const bin = Math.floor(chance * BINS / probabilitySteps);
  count[bin]++;
  sum[bin] += chance;
}

/** Number and mean probability of the labels below a threshold, and of those from it on. */
function splitBins({count, sum}, threshold) {
  const parts = [{count: 0, sum: 0}, {count: 0, sum: 0}];
  for (let bin = 0; bin <= BINS; bin++) {
    const part = parts[Number(bin >= Math.round(threshold * BINS))];
    part.count += count[bin];
    part.sum += sum[bin];
  }
  const [below, above] = parts.map((part) =>
    ({count: part.count, mean: part.sum / Math.max(part.count, 1) / probabilitySteps}));
  return {below, above};
}

function drawHistogram({count}) {
  const heights = Array.from({length: BARS}, (_, bar) => count[2 * bar] + count[2 * bar + 1]);
  heights[BARS - 1] += count[BINS];
  const most = Math.max(...heights, 1);
  const chart = $('bulk-histogram');
  chart.replaceChildren();
  heights.forEach((height, bar) => {
    // Few among very many are seen all the same.
    const high = height ? Math.max(PLOT_HEIGHT * height / most, 1) : 0;
    svg('rect', {
      x: bar * 2 + 0.2, width: 1.6, y: PLOT_HEIGHT - high, height: high, 'data-bar': bar,
    }, chart);
  });
  svg('line', {id: 'bulk-line', y1: 0, y2: PLOT_HEIGHT, x1: 0, x2: 0}, chart);
  chart.setAttribute('aria-label',
    `Probabilities of ${plural(heights.reduce((a, b) => a + b), 'label')}, from 0 to 1`);
}

function markThreshold(threshold) {
  for (const bar of $('bulk-histogram').querySelectorAll('rect')) {
    bar.classList.toggle('below', Number(bar.dataset.bar) * 2 < Math.round(threshold * BINS));
  }
  $('bulk-line').setAttribute('x1', threshold * 100);
  $('bulk-line').setAttribute('x2', threshold * 100);
}
