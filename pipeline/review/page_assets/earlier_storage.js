// Decisions that an earlier page has stored: of kept and dropped labels, and photos looked at.

/** The inverse of storing each index as its distance from the one before. */
function indices(list, length) {
  let last = 0;
  return (Array.isArray(list) ? list : []).map((distance) => last += distance)
    .filter((index) => Number.isInteger(index) && index >= 0 && index < length);
}

/**
 * Takes them over as the user's answers. Of a photo looked at every candidate is answered as it
 * showed; it is not verified: nobody has said that no label is missing.
 */
function restoreEarlier() {
  let found = null;
  try {
    found = JSON.parse(localStorage.getItem(`review-2:${data.key}`));
  } catch {
    return;  // storage has warned, or it was none
  }
  if (found?.images !== imageCount || found.entries !== candidateCount) return;
  const values = new Map();
  for (const image of indices(found.seen, imageCount)) {
    for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
      values.set(entry, keptByProgram[entry] ? YES : NO);
    }
  }
  for (const entry of indices(found.kept, candidateCount)) values.set(entry, YES);
  for (const entry of indices(found.dropped, candidateCount)) values.set(entry, NO);
  const now = seconds();
  for (const [entry, value] of values) setAnswer(entry, value, ME, now);
  if (values.size) saveSoon();
}
