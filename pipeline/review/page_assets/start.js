// Start: connects the controls with what they do, and shows the page for the first time.

function showSummary() {
  const carried = data.decisions && ['carried over', [
    plural(data.decisions.verifiedPhotos, 'verified photo'),
    plural(data.decisions.decisions.length, 'decision'),
  ].join(', ')];
  const lines = carried ? [...data.summary, carried] : data.summary;
  for (const [name, value] of lines) {
    const line = element('div', '', $('summary'));
    element('dt', '', line).textContent = name;
    element('dd', '', line).textContent = value;
  }
  document.querySelector('.about').hidden = !lines.length;
  $('photos-filter').querySelector('[value=test]').hidden = !isTest.includes(1);
  $('photos-filter').querySelector('[value=toverify]').hidden = !taskImages.length;
  $('decision').querySelector('[value=missing]').hidden = !likelyCount;
  classes.forEach((name, column) => {
    const option = element('option', '', $('class'));
    option.value = column;
    option.textContent = `${name} (${grouped(counts.total[column])})`;
  });
}

const on = (id, type, call) => $(id).addEventListener(type, call);

function listenToTools() {
  on('undo', 'click', () => undo(false));  // the button keeps the focus, to be pressed again
  on('redo', 'click', () => redo(false));
  on('me', 'click', changeName);
  on('export', 'click', exportFiles);
  on('import', 'click', () => $('import-file').click());
  on('import-file', 'change', async () => {
    if ($('import-file').files.length) await importFiles([...$('import-file').files]);
    $('import-file').value = '';  // the same file may be chosen again
  });
}

function listenToFilters() {
  on('filter-form', 'submit', (event) => event.preventDefault());
  on('filter-form', 'change', (event) => {
    if (event.target === $('class')) classChosen();
    if (event.target !== $('text')) filtersChanged();
  });
  on('filter-form', 'reset', () => filtersChangeSoon(0));  // once the fields are reset
  on('empty-reset', 'click', () => $('filter-form').reset());
  on('text', 'input', () => filtersChangeSoon(TYPING_MS));
  on('text', 'keydown', (event) => {
    if (event.key === 'Enter' && current >= 0) goTo(current);
  });
}

function listenToPhotos() {
  on('grid', 'click', clickGrid);
  on('grid', 'focusin', focusGrid);
  on('large', 'click', clickLarge);
  on('large', 'focusin', pointAt);
  on('large', 'close', largeClosed);
  for (const id of ['grid', 'large']) {
    on(id, 'pointerdown', pointerDown);
    on(id, 'focusout', pointAway);
    on(id, 'pointerover', pointAt);
    on(id, 'pointerout', pointAway);
  }
  on('large-before', 'click', () => moveLarge(current - 1));
  on('large-next', 'click', () => moveLarge(current + 1));
  on('large-verify', 'click', verifyAndGoOn);
  on('large-close', 'click', () => $('large').close());
  scroller.addEventListener('scroll', drawSoon, {passive: true});
  new ResizeObserver(() => requestAnimationFrame(resized)).observe(scroller);
}

function listenToDialogs() {
  on('keys', 'click', () => $('help').showModal());
  on('help-close', 'click', () => $('help').close());
  on('add-form', 'submit', submitAdd);
  on('add-offers', 'click', (event) => {
    const offer = event.target.closest('.offer');
    if (offer) closeAdd(Number(offer.dataset.column));
  });
  on('add-close', 'click', () => $('add-dialog').close());
  on('name-close', 'click', () => $('name-dialog').close());
}

function listenToBulk() {
  on('bulk-button', 'click', toggleBulk);
  on('bulk-close', 'click', toggleBulk);
  on('bulk-slider', 'input', slide);
  on('bulk-below', 'click', dropBelow);
  on('bulk-above', 'click', keepAbove);
  on('bulk-drop', 'click', dropAll);
  on('bulk-keep', 'click', keepAll);
  on('bulk-verify', 'click', verifyAll);
  on('task-button', 'click', startTask);
  on('task-go', 'click', openLarge);
  on('task-export', 'click', exportFiles);
  on('task-end', 'click', endTask);
}

function listenToOverview() {
  on('tab-photos', 'click', () => showTab('photos'));
  on('tab-classes', 'click', () => showTab('classes'));
  document.querySelector('[role=tablist]').addEventListener('keydown', pressTabKey);
  on('class-sort', 'change', sortClasses);
  on('class-rows', 'click', (event) => {
    const column = classAt(event.target);
    if (column >= 0) filterByClass(column);
  });
  on('heat', 'pointermove', pointAtCell);
  on('heat', 'keydown', pressHeatKey);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawHeat);
  window.addEventListener('resize', drawHeat);
}

function listenToDocument() {
  document.addEventListener('keydown', keyDown, true);
  document.addEventListener('keydown', pressKey);
  window.addEventListener('pagehide', flush);
  document.addEventListener('visibilitychange', flush);
  window.addEventListener('storage', (event) => {  // another tab has decided
    if (event.key === storageKey && event.newValue) restore();
    // Another person goes on, or the same under a better name.
    if (event.key === NAME_KEY && people[ME] && event.newValue !== people[ME]) location.reload();
  });
}

/** Answers as they were left, and those that earlier reviews have brought since. */
function restoreAnswers() {
  const found = restore();
  if (!found) restoreEarlier();
  if (data.decisions && found?.carried !== data.carried) {
    takeCarried();
    saveSoon();
  }
  restoreUndo();
}

$('filters').open = matchMedia('(min-width: 56rem)').matches;
showSummary();
restoreAnswers();
const placeBefore = restoreView();
showHistory();
showCorrelation();
listenToTools();
listenToFilters();
listenToPhotos();
listenToDialogs();
listenToBulk();
listenToOverview();
listenToDocument();
applyFilters();
refresh();
if (positions[placeBefore] > 0) goTo(positions[placeBefore], false);
