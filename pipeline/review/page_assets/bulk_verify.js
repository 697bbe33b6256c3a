// Verifying all photos that are shown, in one change.

/** Whether only the user has answered any of an image's labels. */
function isAllMine(image) {
  if (addedOf.has(image)) return false;
  for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
    if (state.value[entry] && state.by[entry] !== ME) return false;
    if (voices.size && voices.has(entry)) return false;
  }
  return true;
}

/** Verifies all photos shown as they are, but those in dispute: a person must settle these one by one. */
function verifyAll() {
  const [marks, lists, now] = [new Uint8Array(firstAdded), new Map(), seconds()];
  let [photos, open] = [0, 0];
  for (const image of shown) {
    if (isVerified(image)) continue;
    if (disputesIn[image]) {
      open++;
      continue;
    }
    photos++;
    if (isAllMine(image)) {
      for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
        if (!state.value[entry]) marks[entry] = state.kept[entry] ? YES : NO;
      }
      marks[ofPhoto(image)] = YES;
    } else {
      addVerified(lists, image, now);
    }
  }
  if (!photos && !open) return announce('All photos shown are verified');
  const words = `Verified: ${plural(photos, 'photo')}${open ? `, ${grouped(open)} in dispute left` : ''}`;
  if (!photos) return announce(words);
  const change = changeOfMarks(marks);
  const all = lists.size ? joinedChange(change, changeOfVoices(lists, -1, '')) : change;
  applyChange({...all, words});
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
