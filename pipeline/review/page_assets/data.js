// Data of the page: images, classes, candidates and their probabilities, as page.py wrote them.
//
// `image` is an index of an image, `column` one of a class, `entry` one of a candidate, counted
// over all images.

if (typeof reviewData === 'undefined') {
  warn('review-data.js is missing beside this page, or is incomplete. Copy the whole folder.');
  return;  // page.py puts all files into one function: nothing after this line runs
}

const data = reviewData;
const {classes, paths, probabilitySteps} = data;
const starts = new Uint32Array(bytes(data.starts).buffer);  // image's entries: starts[image] ...
const columns = new Uint16Array(bytes(data.columns).buffer);
const probability = new Uint16Array(bytes(data.probability).buffer);  // in `probabilitySteps`
const keptByScript = bytes(data.kept);                                // 1 kept, 0 dropped
const imageCount = paths.length;
const candidateCount = columns.length;

/** The bytes that a base64 text stands for. */
function bytes(text) {
  const characters = atob(text);
  const result = new Uint8Array(characters.length);
  for (let i = 0; i < result.length; i++) result[i] = characters.charCodeAt(i);
  return result;
}

/** The image of a candidate: the last one that starts at or before it and is not empty. */
function imageOf(entry) {
  let low = 0;
  let high = imageCount;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= entry) low = middle; else high = middle;
  }
  return low;
}

/** Candidates of an image as its card shows them: least probable first. */
function candidatesOf(image) {
  const list = [];
  for (let entry = starts[image]; entry < starts[image + 1]; entry++) list.push(entry);
  return list.sort((a, b) => probability[a] - probability[b] || a - b);
}

const probabilityShort = (entry) => (probability[entry] / probabilitySteps).toFixed(2);
const probabilityExact = (entry) => String(probability[entry] / probabilitySteps);
const fileName = (image) => paths[image].slice(paths[image].lastIndexOf('/') + 1);
