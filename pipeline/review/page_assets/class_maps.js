// Class maps: where in a photo the model sees a candidate, laid over its thumbnail.

const FILES_HELD = 16;     // files of maps in memory
const PAINTED_SIDE = 112;  // pixels of a map once enlarged
// Stops of matplotlib's turbo, at equal distances.
const TURBO = [[48, 18, 59], [70, 107, 227], [40, 187, 236], [49, 242, 153],
  [162, 252, 60], [237, 208, 58], [251, 128, 34], [210, 49, 5], [122, 4, 3]];
const OPACITY = 0.65;      // of the strongest, as in predict.py's maps

const maps = new Map();      // chunk -> promise of its bytes, or of null
const arriving = new Map();  // chunk -> what fulfils the promise
let wantedEntry = -1;        // the candidate whose map is wanted

// Files of maps call this; a page on disk cannot read files in another way.
window.reviewMaps = (chunk, text) => arriving.get(chunk)?.(bytes(text));

function loadMaps(chunk) {
  const held = maps.get(chunk) ?? new Promise((resolve) => {
    const tag = document.createElement('script');
    arriving.set(chunk, resolve);
    tag.onload = tag.onerror = () => {
      resolve(null);  // changes nothing where the file has called reviewMaps
      arriving.delete(chunk);
      tag.remove();
    };
    tag.src = `maps/${chunk}.js`;
    document.head.append(tag);
  });
  maps.delete(chunk);
  maps.set(chunk, held);  // now the youngest
  if (maps.size > FILES_HELD) maps.delete(maps.keys().next().value);
  return held;
}

async function showMap(card, entry) {
  wantedEntry = entry;
  if (entry >= candidateCount) return hideMap(card);  // maps are of candidates
  const mapSize = data.mapSide * data.mapSide;
  const chunk = Math.floor(card.image / data.chunk);
  const from = (entry - starts[chunk * data.chunk]) * mapSize;
  const all = await loadMaps(chunk);
  if (!all || all.length < from + mapSize || wantedEntry !== entry) return;
  const shownNow = card.chips.some((chip) => chip.entry === entry);
  if (!shownNow) return;  // the card has gone on to another photo
  const map = all.subarray(from, from + mapSize);
  paintMap(card.map, map);
  fitMap(card);
  card.blank.hidden = map.some((strength) => strength > 0);
  card.map.classList.add('shown');
}

function hideMap(card) {
  card.map.classList.remove('shown');
  card.blank.hidden = true;
}

/** A map that is still on its way will not be shown. */
function cancelMap() {
  wantedEntry = -1;
}

function paintMap(canvas, map) {
  const side = data.mapSide;
  canvas.width = canvas.height = PAINTED_SIDE;
  const context = canvas.getContext('2d');
  const pixels = context.createImageData(PAINTED_SIDE, PAINTED_SIDE);
  const at = (position) => {  // left neighbour and weight of the right one
    const exactly = Math.min(Math.max((position + 0.5) * side / PAINTED_SIDE - 0.5, 0), side - 1);
    const left = Math.min(Math.floor(exactly), side - 2);
    return [left, exactly - left];
  };
  for (let y = 0; y < PAINTED_SIDE; y++) {
    const [row, down] = at(y);
    for (let x = 0; x < PAINTED_SIDE; x++) {
      const [column, right] = at(x);
      const corner = row * side + column;
      const above = map[corner] * (1 - right) + map[corner + 1] * right;
      const below = map[corner + side] * (1 - right) + map[corner + side + 1] * right;
      paintPixel(pixels.data, 4 * (y * PAINTED_SIDE + x),
        (above * (1 - down) + below * down) / 255);
    }
  }
  context.putImageData(pixels, 0, 0);
}

/** Colour and opacity of a strength from 0 to 1. */
function paintPixel(pixels, pixel, strength) {
  const stop = Math.min(Math.floor(strength * 8), 7);
  const part = strength * 8 - stop;
  for (let channel = 0; channel < 3; channel++) {
    pixels[pixel + channel] = TURBO[stop][channel] * (1 - part) + TURBO[stop + 1][channel] * part;
  }
  pixels[pixel + 3] = 255 * OPACITY * strength;
}

/** A map covers the photo, which is fitted into its box. */
function fitMap(card) {
  const {naturalWidth, naturalHeight} = card.photo;
  const boxWidth = card.photo.clientWidth;
  const boxHeight = card.photo.clientHeight;
  const scale = naturalWidth ? Math.min(boxWidth / naturalWidth, boxHeight / naturalHeight) : 0;
  const width = scale ? naturalWidth * scale : boxWidth;
  const height = scale ? naturalHeight * scale : boxHeight;
  Object.assign(card.map.style, {
    width: `${width}px`, height: `${height}px`,
    left: `${(boxWidth - width) / 2}px`, top: `${(boxHeight - height) / 2}px`,
  });
}
