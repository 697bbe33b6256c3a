// Import of decisions from a review.json, which must fit this page entry by entry.

async function importFile(file) {
  $('warning').hidden = true;  // one about an earlier file; storage warns again as it fails
  try {
    const review = JSON.parse(await file.text());
    const flips = readDecisions(review);
    const looked = new Set(review.seen === undefined ? flips.map(imageOf) : readSeen(review));
    const marks = [...looked].filter((image) => !seen[image]);
    applyChange({flips, marks, image: -1, words: `${plural(flips.length, 'decision')} imported`});
  } catch (error) {
    warn(`${file.name} was not imported: ` +
      (error instanceof SyntaxError ? 'it is not JSON.' : error.message));
  }
}

/** The candidates that a review.json decides otherwise; throws what is wrong with it. */
function readDecisions(review) {
  if (review?.format !== FORMAT || !Array.isArray(review.decisions)) {
    throw new Error(`it is not a review.json of the format ${FORMAT}.`);
  }
  if (review.key !== data.key) {
    throw new Error(`it belongs to another review: its key is ${review.key}, ` +
      `this page's is ${data.key}.`);
  }
  if (review.decisions.length !== candidateCount) {
    throw new Error(`expected ${plural(candidateCount, 'decision')}, ` +
      `but it has ${grouped(review.decisions.length)}.`);
  }
  const flips = [];
  for (let image = 0; image < imageCount; image++) {
    for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
      const [path, name, decision] = review.decisions[entry] ?? [];
      if (path !== paths[image] || name !== classes[columns[entry]] ||
          typeof decision !== 'boolean') {
        throw new Error(`decision ${grouped(entry + 1)} is not one of ` +
          `${isolate(classes[columns[entry]])} in ${isolate(paths[image])}.`);
      }
      if (decision !== (kept[entry] === 1)) flips.push(entry);
    }
  }
  return flips;
}

function readSeen({seen: list}) {
  const isImage = (image) => Number.isInteger(image) && image >= 0 && image < imageCount;
  if (!Array.isArray(list) || !list.every(isImage)) {
    throw new Error(`expected photos looked at as a list of numbers from 0 to ${imageCount - 1}.`);
  }
  return list;
}
