// Filters and order: which photos are shown, in which order, and which of them is current.

const positions = new Int32Array(imageCount);  // an image's place among those shown, or -1
let shown = new Uint32Array(0);                // images in the order of the grid
let current = -1;                              // position of the current photo
let currentImage = -1;
const orders = new Map();
let lowerPaths = null;

/** Images by a whole, non-negative number each, ties as in the label file. */
function orderBy(number) {
  // A sort of plain numbers is many times faster than one with a function to compare them.
  const keys = new Float64Array(imageCount);
  for (let image = 0; image < imageCount; image++) {
    keys[image] = number(image) * imageCount + image;
  }
  return Uint32Array.from(keys.sort(), (key) => key % imageCount);
}

/** The least of `number` over an image's candidates; `probabilitySteps` where it has none. */
function least(image, number) {
  let result = probabilitySteps;
  for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
    result = Math.min(result, number(probability[entry]));
  }
  return result;
}

const ORDERS = {
  suspicious: () => orderBy((image) => least(image, (p) => p)),
  trusted: () => orderBy((image) => probabilitySteps - least(image, (p) => p)),
  border: () => {
    const threshold = Math.round(data.threshold * probabilitySteps);
    return orderBy((image) => least(image, (p) => Math.abs(p - threshold)));
  },
  name: () => Uint32Array.from({length: imageCount}, (_, image) => image)
    .sort((a, b) => paths[a] < paths[b] ? -1 : paths[a] > paths[b] ? 1 : a - b),
  file: () => Uint32Array.from({length: imageCount}, (_, image) => image),
};

function ordered(name) {
  if (!orders.has(name)) orders.set(name, ORDERS[name]());
  return orders.get(name);
}

/** A bound of the probability, in `probabilitySteps`. */
function readBound(id, otherwise) {
  const value = $(id).valueAsNumber;
  return Number.isNaN(value) ? otherwise : Math.round(value * probabilitySteps);
}

function readFilters() {
  const text = $('text').value.trim().toLowerCase();
  return {
    text,
    classMatches: classes.map((name) => name.toLowerCase().includes(text)),
    column: $('class').value === '' ? -1 : Number($('class').value),
    decision: $('decision').value,
    low: readBound('low', 0),
    high: readBound('high', probabilitySteps),
    unseen: $('unseen').checked,
  };
}

function fits(entry, filters) {
  if (filters.column >= 0 && columns[entry] !== filters.column) return false;
  if (probability[entry] < filters.low || probability[entry] > filters.high) return false;
  switch (filters.decision) {
    case 'kept': return kept[entry] === 1;
    case 'dropped': return kept[entry] === 0;
    case 'changed': return kept[entry] !== keptByScript[entry];
    default: return true;
  }
}

/** Whether one candidate fits all filters at once; the text may also be in the image's name. */
function passes(image, filters, anyCandidate) {
  if (filters.unseen && seen[image]) return false;
  const named = !filters.text || lowerPaths[image].includes(filters.text);
  if (named && anyCandidate) return true;  // also an image without candidates
  for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
    if ((named || filters.classMatches[columns[entry]]) && fits(entry, filters)) return true;
  }
  return false;
}

function setCurrent(position) {
  current = position;
  currentImage = position < 0 ? -1 : shown[position];
}

/** Sets the photos that are shown to those that pass the filters; the first becomes current. */
function selectPhotos() {
  const filters = readFilters();
  if (filters.text && !lowerPaths) lowerPaths = paths.map((path) => path.toLowerCase());
  const anyCandidate = filters.column < 0 && filters.decision === 'any' &&
    filters.low <= 0 && filters.high >= probabilitySteps;
  const order = ordered($('sort').value);
  shown = order.filter((image) => passes(image, filters, anyCandidate));
  positions.fill(-1);
  shown.forEach((image, position) => { positions[image] = position; });
  setCurrent(shown.length ? 0 : -1);
  showCounts(filters);
}

/** Says how many filters are active, and how many photos pass them. */
function showCounts(filters) {
  const active = Number(filters.text !== '') + Number(filters.column >= 0) +
    Number(filters.decision !== 'any') +
    Number(filters.low > 0 || filters.high < probabilitySteps) + Number(filters.unseen);
  $('filters-active').textContent = active ? `(${active} active)` : '';
  $('count').textContent = shown.length === imageCount ? plural(imageCount, 'photo')
    : `${grouped(shown.length)} of ${plural(imageCount, 'photo')}`;
  $('empty').hidden = shown.length > 0;
}
