// Charts of the training run: confidence and mAP over the epochs.

const SVG = 'http://www.w3.org/2000/svg';

function svg(tag, attributes, parent) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}

function showHistory() {
  for (const [key, label] of [['confidence', 'Confidence'], ['mAP', 'mAP']]) {
    const points = data.history
      .map((line, index) => [line.epoch ?? index + 1, line[key]])
      .filter(([, value]) => typeof value === 'number');
    if (points.length) $('charts').append(lineChart(label, points));
  }
  $('history').hidden = !$('charts').childElementCount;
}

/** A figure of [epoch, value] points, in the order of the epochs. */
function lineChart(label, points) {
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [points[0], points[points.length - 1]];
  const x = (epoch) => 44 + 260 * (last[0] > first[0]
    ? (epoch - first[0]) / (last[0] - first[0]) : 0.5);
  const y = (value) => 100 - 84 * (high > low ? (value - low) / (high - low) : 0.5);
  const short = (value) => String(Number(value.toPrecision(3)));
  const figure = element('figure');
  element('figcaption', '', figure).textContent = label;
  const chart = svg('svg', {
    viewBox: '0 0 320 124', role: 'img',
    'aria-label': `${label} from ${short(first[1])} at epoch ${first[0]} ` +
      `to ${short(last[1])} at epoch ${last[0]}`,
  }, figure);
  for (const value of high > low ? [low, high] : [low]) {
    svg('line', {x1: 44, x2: 304, y1: y(value), y2: y(value), class: 'rule'}, chart);
    svg('text', {x: 38, y: y(value) + 4, class: 'end'}, chart).textContent = short(value);
  }
  svg('polyline', {
    points: points.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(' '), class: 'line',
  }, chart);
  svg('circle', {cx: x(last[0]), cy: y(last[1]), r: 3.5, class: 'dot'}, chart);
  svg('text', {x: 44, y: 120}, chart).textContent = `epoch ${first[0]}`;
  if (last[0] > first[0]) svg('text', {x: 304, y: 120, class: 'end'}, chart).textContent = last[0];
  return figure;
}
