// Start: connects the controls with what they do, and shows the page for the first time.

function showSummary() {
  for (const [name, value] of data.summary) {
    const line = element('div', '', $('summary'));
    element('dt', '', line).textContent = name;
    element('dd', '', line).textContent = value;
  }
  document.querySelector('.about').hidden = !data.summary.length;
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
  on('export', 'click', exportFiles);
  on('import', 'click', () => $('import-file').click());
  on('import-file', 'change', async () => {
    if ($('import-file').files.length) await importFile($('import-file').files[0]);
    $('import-file').value = '';  // the same file may be chosen again
  });
  on('keys', 'click', () => $('help').showModal());
  on('help-close', 'click', () => $('help').close());
}

function listenToFilters() {
  on('filter-form', 'submit', (event) => event.preventDefault());
  on('filter-form', 'change', (event) => {
    if (event.target !== $('text')) filtersChanged();
  });
  on('filter-form', 'reset', () => filtersChangeSoon(0));  // once the fields are reset
  on('empty-reset', 'click', () => $('filter-form').reset());
  on('text', 'input', () => filtersChangeSoon(TYPING_MS));
  on('text', 'keydown', (event) => {
    if (event.key === 'Enter' && current >= 0) goTo(current);
  });
}

function listenToGrid() {
  on('grid', 'click', clickGrid);
  on('grid', 'pointerdown', pointerDown);
  on('grid', 'focusin', focusGrid);
  on('grid', 'focusout', pointAway);
  on('grid', 'pointerover', pointAt);
  on('grid', 'pointerout', pointAway);
  scroller.addEventListener('scroll', drawSoon, {passive: true});
  new ResizeObserver(() => requestAnimationFrame(resized)).observe(scroller);
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
  });
}

$('filters').open = matchMedia('(min-width: 56rem)').matches;
restore();
showSummary();
showProgress();
showHistory();
showCorrelation();
listenToTools();
listenToFilters();
listenToGrid();
listenToOverview();
listenToDocument();
applyFilters();
