// Import: merges the answers of files, one's own or of other people, into those of this page.

/** Lists of voices that change by the records of all files together, by question. */
function mergedVoices(records) {
  const lists = new Map();
  eachVoice(records, (question, voice) => {
    const before = lists.get(question) ?? voicesOf(question);
    const after = joined(before, voice);
    if (after !== before) lists.set(question, after);
  });
  return lists;
}

/** What a merge brings, in words. */
function mergeWords(lists, left) {
  const questions = [...lists.keys()];
  const labels = questions.filter((question) => !isOfPhoto(question));
  const isOpen = (entry) => lists.has(entry) ? inForce(lists.get(entry)).open : disputed.has(entry);
  const photos = questions.filter((question) => isOfPhoto(question) && !state.value[question] &&
    !entriesOf(imageOf(question)).some(isOpen));
  const common = labels.filter((entry) => spoken(entry).length);
  const open = labels.filter((entry) => !disputed.has(entry) && isOpen(entry));
  return [
    plural(photos.length, 'verified photo'), plural(labels.length - common.length, 'decision'),
    ...(common.length ? [`${grouped(common.length)} on labels decided here too`] : []),
    ...(open.length ? [`${plural(open.length, 'dispute')} to settle`] : []),
    ...(left ? [`${grouped(left)} of other photos or classes left out`] : []),
  ].join(', ');
}

/** Takes the answers of some files over, as one change. */
async function importFiles(files) {
  $('warning').hidden = true;  // one about an earlier file; storage warns again as it fails
  if (await askName() === null) return;
  const [records, wrong] = [[], []];
  let left = 0;
  for (const file of files) {
    try {
      const found = readReview(JSON.parse(await file.text()), Math.floor(file.lastModified / 1000));
      for (const record of found.records) records.push(record);
      left += found.left;
    } catch (error) {
      wrong.push(`${file.name} was not imported: ` +
        (error instanceof SyntaxError ? 'it is not JSON.' : error.message));
    }
  }
  if (wrong.length) warn(wrong.join(' '));
  if (wrong.length === files.length) return;
  const lists = mergedVoices(records);
  applyChange(changeOfVoices(lists, -1, `Imported ${mergeWords(lists, left)}`));
}

/** Takes one voice over, at once: there may be millions. */
function hear(question, voice) {
  const list = voicesOf(question);
  if (!list.length && !voice.settles) {
    setAnswer(question, voice.value, voice.by, voice.at);
    return;
  }
  const after = joined(list, voice);
  if (after === list) return;
  const {value, by, at} = inForce(after);
  setVoices(question, after);
  setAnswer(question, value, by, at);
}

/** Takes over what people decided in earlier reviews, which page.py wrote with the photos. */
function takeCarried() {
  if (data.decisions === null) return;
  const {people: names, verified, decisions} = data.decisions;
  const who = names.map(personOf);
  const record = ([image, by, at, settles], named, isWhole, value) => ({
    image, columns: named, isWhole, voice: {by: who[by], at, value, settles: settles === 1},
  });
  eachVoice([
    ...verified.map((packed) => record(packed, packed.slice(4), true, YES)),
    ...decisions.map((packed) => record(packed, [packed[4]], false, packed[5] ? YES : NO)),
  ], hear);
}
