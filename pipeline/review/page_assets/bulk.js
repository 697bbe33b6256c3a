// Many at once: what is shown is kept, dropped or verified in one change, which one undo takes back.
//
// Only labels that nobody has decided change: single decisions stay.

let bulkThreshold = data.threshold;  // where no single class is looked at
let bins = null;                     // of the labels that bulk decisions are about

const bulkIsOpen = () => !$('bulk').hidden;
const sliderValue = () => $('bulk-slider').valueAsNumber;

function toggleBulk() {
  $('bulk').hidden = !$('bulk').hidden;
  $('bulk-button').setAttribute('aria-expanded', bulkIsOpen());
  if (bulkIsOpen()) {
    showBulk();
    $('bulk-slider').focus();
  } else {
    $('bulk-button').focus();
  }
}

/** Calls with each undecided label that is shown and fits the filters: (image, column, chance). */
function eachOpenLabel(callback) {
  const call = (image, column, ...rest) => {
    const searched = !active.text || lowerPaths[image].includes(active.text);
    if (searched || active.classMatches[column]) callback(image, column, ...rest);
  };
  if (active.decision === 'missing') {
    for (const image of shown) {
      if (isWhole(image)) continue;
      for (const column of missingIn(image, active)) call(image, column, chanceOfColumn(image, column));
    }
    return;
  }
  const simple = LABEL_FILTERS[active.decision];
  for (const image of shown) {
    for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
      if (state.value[entry] || (active.column >= 0 && columns[entry] !== active.column)) continue;
      const chance = probability[entry];
      if (chance < active.low || chance > active.high || !simple(entry)) continue;
      if (!disputed.size || !disputed.has(entry)) call(image, columns[entry], chance, entry);
    }
  }
}

/** Says what the buttons would do, and draws the histogram. */
function showBulk() {
  const threshold = active.column >= 0 ? thresholdOf(active.column) : bulkThreshold;
  $('bulk-slider').value = threshold;
  bins = emptyBins();
  eachOpenLabel((image, column, chance) => addToBins(bins, chance));
  drawHistogram(bins);
  showBulkCounts();
}

function refreshBulk() {
  if (bulkIsOpen()) showBulk();
}

function showBulkCounts() {
  const threshold = sliderValue();
  const {below, above} = splitBins(bins, threshold);
  const isMissing = active.decision === 'missing';
  const at = threshold.toFixed(2);
  const name = active.column >= 0 ? ` of ${isolate(classes[active.column])}` : '';
  $('bulk-about').textContent = `${plural(below.count + above.count, 'label')}${name} ` +
    `${isMissing ? 'perhaps missing' : 'that nobody has decided'} in ${plural(shown.length, 'photo')} shown`;
  $('bulk-value').textContent = at;
  setBulkButton('bulk-below', below, 
    `${isMissing ? 'Refuse' : 'Drop'} ${grouped(below.count)} below ${at}`);
  setBulkButton('bulk-above', above,
    `${isMissing ? 'Add' : 'Keep'} ${grouped(above.count)} from ${at}`);
  const all = {count: below.count + above.count};
  setBulkButton('bulk-drop', all, isMissing ? 'Refuse all' : 'Drop all');
  setBulkButton('bulk-keep', all, isMissing ? 'Add all' : 'Keep all');
  $('bulk-below-expected').textContent =
    below.count ? `expected: ${percent(1 - below.mean)} false` : '';
  $('bulk-above-expected').textContent =
    above.count ? `expected: ${percent(above.mean)} true` : '';
  setBulkButton('bulk-verify', {count: shown.length}, `Verify ${plural(shown.length, 'photo')}`);
  markThreshold(threshold);
}

function setBulkButton(id, {count}, text) {
  $(id).textContent = text;
  $(id).disabled = count === 0;
}

const percent = (share) => `${(100 * share).toFixed(share > 0.99 || share < 0.1 ? 1 : 0)}%`;

function slide() {
  if (active.column >= 0) classThresholds.set(active.column, sliderValue());
  else bulkThreshold = sliderValue();
  showBulkCounts();
}

/** Decides the labels whose chance is `low` at least and below `high`. */
function decideMany(value, low, high, words) {
  const marks = new Uint8Array(firstAdded + imageCount * likelyCount + added.images.length);
  eachOpenLabel((image, column, chance, entry) => {
    if (chance >= low && chance < high) marks[entry ?? makeEntry(image, column)] = value;
  });
  const change = changeOfMarks(marks);
  change.words = `${words}: ${plural(change.questions.length, 'label')}`;
  if (change.questions.length) applyChange(change);
}

/** A change of questions that nobody has answered to the values marked. */
function changeOfMarks(marks) {
  const questions = marked(marks);
  const after = noAnswers(questions.length);
  for (let i = 0; i < questions.length; i++) after.value[i] = marks[questions[i]];
  after.at.fill(seconds());
  return {questions, image: -1, words: '', voices: [], after};
}

const cut = () => Math.round(sliderValue() * probabilitySteps);
const dropBelow = () => decideMany(NO, 0, cut(), 'Dropped');
const keepAbove = () => decideMany(YES, cut(), Infinity, 'Kept');
const dropAll = () => decideMany(NO, 0, Infinity, 'Dropped');
const keepAll = () => decideMany(YES, 0, Infinity, 'Kept');
