// Data of the page: images, classes, candidates and their probabilities, as page.py wrote them.
//
// `image` is an index of an image, `column` one of a class. A `question` is what a person can
// answer, in this order: is this candidate true (`entry`, counted over all images), is this photo
// verified, is this label true that is no candidate (an `entry` too, made when it is needed).

if (typeof reviewData === 'undefined') {
  warn('review-data.js is missing beside this page, or is incomplete. Copy the whole folder.');
  return;  // page.py puts all files into one function: nothing after this line runs
}

const data = reviewData;
const {classes, paths, probabilitySteps} = data;
const shorts = (text) => new Uint16Array(bytes(text).buffer);
const starts = new Uint32Array(bytes(data.starts).buffer);  // image's entries: starts[image] ...
const columns = shorts(data.columns);
const probability = shorts(data.probability);  // in `probabilitySteps`
const keptByProgram = bytes(data.kept);        // 1 kept, 0 dropped
const isTest = bytes(data.test);               // by image; empty where no split is known
const imageCount = paths.length;
const candidateCount = columns.length;
const firstAdded = candidateCount + imageCount;  // of the questions
const images = imagesOfEntries();

// The likeliest labels that are no candidates, `likelyCount` an image, the likeliest first.
const NO_CLASS = 0xffff;
const {likelyCount} = data;
const likely = shorts(data.likely);
const likelyProbability = shorts(data.likelyProbability);

const added = {images: [], columns: []};  // of the questions from `firstAdded` on
const addedOf = new Map();                // image -> their entries

/** The bytes that a base64 text stands for. */
function bytes(text) {
  const characters = atob(text);
  const result = new Uint8Array(characters.length);
  for (let i = 0; i < result.length; i++) result[i] = characters.charCodeAt(i);
  return result;
}

function imagesOfEntries() {
  const result = new Uint32Array(candidateCount);
  for (let image = 0; image < imageCount; image++) {
    result.fill(image, starts[image], starts[image + 1]);
  }
  return result;
}

const ofPhoto = (image) => candidateCount + image;  // the question whether it is verified
const isOfPhoto = (question) => question >= candidateCount && question < firstAdded;
const columnOf = (entry) => entry < candidateCount ? columns[entry]
  : added.columns[entry - firstAdded];

function imageOf(question) {
  if (question < candidateCount) return images[question];
  return question < firstAdded ? question - candidateCount : added.images[question - firstAdded];
}

/** The entry of a label of an image, or -1 where it is no candidate and nobody needed it yet. */
function entryOf(image, column) {
  for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
    if (columns[entry] === column) return entry;
  }
  return addedOf.get(image)?.find((entry) => columnOf(entry) === column) ?? -1;
}

/** The same, made where there is none. */
function makeEntry(image, column) {
  const found = entryOf(image, column);
  if (found >= 0) return found;
  const entry = firstAdded + added.images.push(image) - 1;
  added.columns.push(column);
  if (!addedOf.has(image)) addedOf.set(image, []);
  addedOf.get(image).push(entry);
  return entry;
}

/** Probability of an entry in `probabilitySteps`, or -1 where it is not known. */
function chanceOf(entry) {
  if (entry < candidateCount) return probability[entry];
  const [image, column] = [imageOf(entry), columnOf(entry)];
  for (let place = image * likelyCount; place < (image + 1) * likelyCount; place++) {
    if (likely[place] === column) return likelyProbability[place];
  }
  return -1;
}

/** All entries of an image, those of candidates first. */
function entriesOf(image) {
  const list = [];
  for (let entry = starts[image]; entry < starts[image + 1]; entry++) list.push(entry);
  return list.concat(addedOf.get(image) ?? []);
}

const chanceText = (entry) => chanceOf(entry) < 0 ? '' : String(chanceOf(entry) / probabilitySteps);
const hashOf = (image) => data.hashes.slice(16 * image, 16 * image + 16).trim();
/** Where a photo itself lies, seen from this page; '' where that is not known. */
function photoAddress(image) {
  if (!data.files) return '';
  const {before, after, others} = data.files;
  const other = others.find(([place]) => place === image);
  return other ? other[1]
    : `${before}${paths[image].split('/').map(encodeURIComponent).join('/')}${after}`;
}

const fileName = (image) => paths[image].slice(paths[image].lastIndexOf('/') + 1);
