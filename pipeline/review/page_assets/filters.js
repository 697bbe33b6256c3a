// Filters: which photos are shown, and which of them is current.

const positions = new Int32Array(imageCount);  // an image's place among those shown, or -1
let shown = new Uint32Array(0);                // images in the order of the grid
let current = -1;                              // position of the current photo
let currentImage = -1;
let lowerPaths = null;
let active = null;                             // the filters that chose `shown`

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
    column: chosenColumn(),
    decision: $('decision').value,
    photos: $('photos-filter').value,
    low: readBound('low', 0),
    high: readBound('high', probabilitySteps),
  };
}

/** The class that is looked at alone, or -1. */
const chosenColumn = () => $('class').value === '' ? -1 : Number($('class').value);

const LABEL_FILTERS = {
  any: shownAsLabel,
  kept: (entry) => state.kept[entry] === 1,
  dropped: (entry) => state.kept[entry] === 0 && shownAsLabel(entry),
  decided: (entry) => state.value[entry] > 0,
  undecided: (entry) => state.value[entry] === 0 && entry < candidateCount,
  against: (entry) => isAgainst(entry),
  added: (entry) => entry >= candidateCount && state.kept[entry] === 1,
  disputed: (entry) => disputed.has(entry),
};

const toVerify = new Uint8Array(imageCount);
for (const image of data.toVerify) toVerify[image] = 1;

const PHOTO_FILTERS = {
  any: () => true,
  unverified: (image) => !isVerified(image),
  verified: isVerified,
  bare: (image) => keptIn[image] === 0,
  test: (image) => isTest[image] === 1,
  toverify: (image) => toVerify[image] === 1,
};

function fits(entry, filters) {
  if (filters.column >= 0 && columnOf(entry) !== filters.column) return false;
  const chance = chanceOf(entry);
  if (chance >= 0 && (chance < filters.low || chance > filters.high)) return false;
  return LABEL_FILTERS[filters.decision](entry);
}

/** Whether a label that is only offered may be missing, by the program. */
function isPerhapsMissing(image, place, filters) {
  const column = likely[place];
  const chance = likelyProbability[place];
  if (column === NO_CLASS || (filters.column >= 0 && column !== filters.column)) return false;
  if (chance < data.threshold * probabilitySteps) return false;
  if (chance < filters.low || chance > filters.high) return false;
  const entry = addedOf.has(image) ? entryOf(image, column) : -1;
  return entry < 0 || !state.value[entry];
}

/** The columns of an image that the filter of labels perhaps missing shows. */
function missingIn(image, filters) {
  const result = [];
  for (let place = image * likelyCount; place < (image + 1) * likelyCount; place++) {
    if (isPerhapsMissing(image, place, filters)) result.push(likely[place]);
  }
  return result;
}

/** Whether one label fits all filters at once; the text may also be in the image's name. */
function passes(image, filters, anyLabel) {
  if (!PHOTO_FILTERS[filters.photos](image)) return false;
  const named = !filters.text || lowerPaths[image].includes(filters.text);
  if (named && anyLabel) return true;  // also an image without candidates
  const matches = (column) => named || filters.classMatches[column];
  if (filters.decision === 'missing') return missingIn(image, filters).some(matches);
  for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
    if (matches(columns[entry]) && fits(entry, filters)) return true;
  }
  return addedOf.size > 0 && (addedOf.get(image) ?? []).some((entry) =>
    matches(columnOf(entry)) && fits(entry, filters));
}

function setCurrent(position) {
  current = position;
  currentImage = position < 0 ? -1 : shown[position];
}

/** Sets the photos that are shown to those that pass the filters; the first becomes current. */
function selectPhotos() {
  const filters = readFilters();
  if (filters.text && !lowerPaths) lowerPaths = paths.map((path) => path.toLowerCase());
  const anyLabel = filters.column < 0 && filters.decision === 'any' &&
    filters.low <= 0 && filters.high >= probabilitySteps;
  active = filters;
  shown = ordered($('sort').value, filters.column)
    .filter((image) => passes(image, filters, anyLabel));
  positions.fill(-1);
  shown.forEach((image, position) => { positions[image] = position; });
  setCurrent(shown.length ? 0 : -1);
  showCounts(filters);
}

/** Says how many filters are active, and how many photos pass them. */
function showCounts(filters) {
  const number = Number(filters.text !== '') + Number(filters.column >= 0) +
    Number(filters.decision !== 'any') + Number(filters.photos !== 'any') +
    Number(filters.low > 0 || filters.high < probabilitySteps);
  $('filters-active').textContent = number ? `(${number} active)` : '';
  $('count').textContent = shown.length === imageCount ? plural(imageCount, 'photo')
    : `${grouped(shown.length)} of ${plural(imageCount, 'photo')}`;
  $('empty').hidden = shown.length > 0;
}
