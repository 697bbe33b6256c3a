// Export of decisions: review.json, which this page imports again, and review.csv.

const FORMAT = 'review-1';
const CSV_HEAD = ['path', 'candidate', 'probability', 'decision', 'by'];
const BETWEEN_FILES_MS = 1000;  // Safari keeps one of two downloads that start together

/**
 * A cell of CSV. Spreadsheets run a cell that starts like a formula: an apostrophe stops it,
 * and quotes keep a name in one cell where semicolons separate.
 */
function csvCell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

const csvLine = (cells) => `${cells.map(csvCell).join(',')}\r\n`;

/** A file's text, a part an image: as a whole it may be longer than a string can be. */
function textByImage(head, line, tail = '') {
  const parts = [head];
  for (let image = 0; image < imageCount; image++) {
    let part = '';
    for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
      part += line(image, entry);
    }
    parts.push(part);
  }
  parts.push(tail);
  return parts;
}

const csvText = () => textByImage(csvLine(CSV_HEAD), (image, entry) => csvLine([
  paths[image], classes[columns[entry]], probabilityExact(entry),
  kept[entry] ? 'kept' : 'dropped', kept[entry] === keptByScript[entry] ? 'script' : 'you',
]));

function jsonText() {
  const looked = JSON.stringify(differing(seen, new Uint8Array(imageCount)));
  return textByImage(
    `{"format": "${FORMAT}", "key": ${JSON.stringify(data.key)}, "seen": ${looked}, ` +
      '"decisions": [\n',
    (image, entry) => (entry ? ',\n' : '') +
      JSON.stringify([paths[image], classes[columns[entry]], kept[entry] === 1]),
    '\n]}\n');
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
