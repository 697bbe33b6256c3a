// Export of what people decided: review.json, which this page imports again, and review.csv.

const FORMAT = 'review-2';
const CSV_HEAD = ['path', 'candidate', 'probability', 'decision', 'by'];
const BETWEEN_FILES_MS = 1000;  // Safari keeps one of two downloads that start together

/**
 * A cell of CSV. Spreadsheets run a cell that starts like a formula: an apostrophe stops it,
 * and quotes keep a name in one cell where semicolons separate.
 */
function csvCell(text) {
  const safe = /^[=+\-@\t\r\n＝＋－＠]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

const csvLine = (cells) => `${cells.map(csvCell).join(',')}\r\n`;

/** Parts, one of an image: as a whole the text may be longer than a string can be. */
function csvText() {
  const parts = [csvLine(CSV_HEAD)];
  for (let image = 0; image < imageCount; image++) {
    const rows = entriesOf(image).filter(shownAsLabel).map((entry) => csvLine([
      paths[image], classes[columnOf(entry)], chanceText(entry),
      state.kept[entry] ? entry < candidateCount ? 'kept' : 'added' : 'dropped',
      state.value[entry] ? nameOf(state.by[entry]) : 'script',
    ]));
    parts.push(rows.join(''));
  }
  return parts;
}

const timeText = (at) => new Date(at * 1000).toISOString().replace('.000', '');

const photoRecord = (image) => ({path: paths[image], sha256: hashOf(image)});

/** Voices in an order that does not depend on what was imported first. */
const inOrder = (list) => list.length < 2 ? list : [...list].sort((a, b) =>
  a.at - b.at || a.settles - b.settles || (people[a.by] < people[b.by] ? -1 : 1));

/** What each person said last to an entry. */
function lastWords(entry) {
  const words = new Map();
  for (const voice of inOrder(spoken(entry))) words.set(voice.by, voice.value);
  return words;
}

/** The photo as each person who verified it knows it. */
function verifiedRecords(image, entries) {
  const list = photoVoices(image);
  if (!list.length) return [];
  const words = entries.map(lastWords);
  return inOrder(list).map(({by, at}) => ({
    ...photoRecord(image),
    true_labels: entries.filter((_, i) => words[i].get(by) === YES)
      .map((entry) => classes[columnOf(entry)]),
    by: people[by], at: timeText(at),
  }));
}

/** Single answers: those of people who have not verified the photo, and settled disputes. */
function decisionRecords(image, entries) {
  const known = photoVoices(image).map((voice) => voice.by);
  return entries.flatMap((entry) => inOrder(spoken(entry))
    .filter((voice) => voice.settles || !known.includes(voice.by))
    .map(({by, at, value, settles}) => ({
      ...photoRecord(image), label: classes[columnOf(entry)], true: value === YES,
      by: people[by], at: timeText(at), ...(settles ? {settles: true} : {}),
    })));
}

function jsonText() {
  const [verified, decisions] = [[], []];
  for (let image = 0; image < imageCount; image++) {
    const entries = entriesOf(image).filter((entry) => state.value[entry] || voices.has(entry))
      .sort((a, b) => columnOf(a) - columnOf(b));
    for (const [parts, records] of [[verified, verifiedRecords], [decisions, decisionRecords]]) {
      for (const record of records(image, entries)) {
        parts.push(`${parts.length ? ',' : ''}\n${JSON.stringify(record)}`);
      }
    }
  }
  return [
    `{"format": "${FORMAT}", "key": ${JSON.stringify(data.key)}, ` +
      `"by": ${JSON.stringify(people[ME])},\n"verified": [`,
    ...verified, '],\n"decisions": [', ...decisions, ']}\n',
  ];
}

function download(name, blob) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** First the file that this page reads again: a browser may ask before it saves a second one. */
async function exportFiles() {
  if (await askName() === null) return;
  try {
    download('review.json', new Blob(jsonText(), {type: 'application/json'}));
    const table = new Blob(csvText(), {type: 'text/csv;charset=utf-8'});  // of the same moment
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_FILES_MS));
    download('review.csv', table);
    announce('Saved review.json and review.csv among your downloads');
  } catch (error) {
    warn(`The export failed (${error.name}: ${error.message}).`);
  }
}
