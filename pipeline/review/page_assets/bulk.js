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
function eachOpenLabel(call) {
  if (active.decision === 'missing') {
    for (const image of shown) {
      if (isVerified(image)) continue;
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
    below.count ? `${percent(1 - below.mean)} of them false, as expected` : '';
  $('bulk-above-expected').textContent =
    above.count ? `${percent(above.mean)} of them true, as expected` : '';
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

/** Decides the labels whose chance a test passes. */
function decideMany(value, test, words) {
  const entries = [];
  eachOpenLabel((image, column, chance, entry) => {
    if (test(chance)) entries.push(entry ?? makeEntry(image, column));
  });
  if (entries.length) applyChange(changeOfMany(entries, value, `${words}: ${plural(entries.length, 'label')}`));
}

/** A change of questions that nobody has answered, but the user perhaps, to the user's answers. */
function changeOfMany(questions, value, words) {
  const {length} = questions;
  const values = typeof value === 'function' ? Uint8Array.from(questions, value)
    : new Uint8Array(length).fill(value);
  return {
    questions: Uint32Array.from(questions), image: -1, words, voices: [],
    after: {value: values, by: new Uint8Array(length), at: new Uint32Array(length).fill(seconds())},
  };
}

const cut = () => Math.round(sliderValue() * probabilitySteps);
const dropBelow = () => decideMany(NO, (chance) => chance < cut(), 'Dropped');
const keepAbove = () => decideMany(YES, (chance) => chance >= cut(), 'Kept');
const dropAll = () => decideMany(NO, () => true, 'Dropped');
const keepAll = () => decideMany(YES, () => true, 'Kept');

/** Verifies all photos shown as they are; disputes in them stay open. */
function verifyAll() {
  const [simple, lists, now] = [[], new Map(), seconds()];
  let photos = 0;
  for (const image of shown) {
    if (isVerified(image)) continue;
    photos++;
    const entries = entriesOf(image).filter(shownAsLabel);
    const isMine = (entry) => !voices.has(entry) && (!state.value[entry] || state.by[entry] === ME);
    if (entries.every(isMine)) simple.push(...entries, ofPhoto(image));
    else addVerified(lists, image, now);
  }
  if (!photos) return announce('All photos shown are verified');
  const change = changeOfMany(simple, (question) =>
    isOfPhoto(question) || state.kept[question] ? YES : NO, `Verified: ${plural(photos, 'photo')}`);
  applyChange(lists.size ? joinedChange(change, changeOfVoices(lists, -1, '')) : change);
}

function joinedChange(one, other) {
  const both = (a, b) => {
    const result = new a.constructor(a.length + b.length);
    result.set(a);
    result.set(b, a.length);
    return result;
  };
  const after = Object.fromEntries(['value', 'by', 'at'].map((name) =>
    [name, both(one.after[name], other.after[name])]));
  return {...one, after, questions: both(one.questions, other.questions), voices: other.voices};
}
