// Draws the points of a light curve in time or phase, as flux or magnitude. Runs on every change of a widget and while the period
// is dragged; nothing is asked of the server. The y range covers 98 % of the points so that one wild epoch does not hide the rest.
const span = plot.tags[0], tuning = fine.data;
if (cb_obj.event_name) {
  // Dragging sideways over the folded curve changes the frequency so that the last epochs follow the pointer.
  if (drag.value !== 'changes the period' || against.value !== 'phase' || !(period.value > 0)) return;
  if (cb_obj.event_name === 'panstart') plot.drag_from = cb_obj.x;
  else if (cb_obj.event_name === 'pan') plot.fold_offset = cb_obj.x - plot.drag_from;
  else {
    const found = 1 / (1 / period.value + (tuning.value + (plot.fold_offset || 0)) / span);
    plot.fold_offset = 0;
    if (found > 0) { tuning.value = 0; period.value = Number(found.toPrecision(9)); }
  }
}
// What is drawn follows from the widgets: the server, which has these, is told nothing of it.
const set = (model, values) => model.setv(values, {sync: false});
const mag = unit.value === 'AB magnitude';
const base = period.value > 0 ? 1 / period.value : 0;
const frequency = base + (tuning.value + (plot.fold_offset || 0)) / span;
const folded = against.value === 'phase' && frequency > 0;
const place = (t, cycle) => {
  if (!folded) return t;
  const turns = (t - epoch.value) * frequency;
  return turns - Math.floor(turns) + cycle;
};
const cycles = folded ? 2 : 1;
const xs = [], ys = [];
for (let n = 0; n < bases.length; n++) {
  const b = bases[n].data, size = b.mjd.length;
  const x = [], y = [], lo = [], hi = [], lx = [], ly = [];
  const value = mag ? b.mag : b.flux, error = mag ? b.magErr : b.fluxErr;
  for (let cycle = 0; cycle < cycles; cycle++) {
    for (let i = 0; i < size; i++) {
      const at = place(b.mjd[i], cycle);
      x.push(at); y.push(value[i]); lo.push(value[i] - error[i]); hi.push(value[i] + error[i]);
      xs.push(at);
      if (Number.isFinite(value[i])) ys.push(value[i]);
      if (mag && Number.isFinite(b.limit[i])) { lx.push(at); ly.push(b.limit[i]); ys.push(b.limit[i]); }
    }
  }
  set(drawn[n], {data: {x: x, y: y, lo: lo, hi: hi}});
  set(limits[n], {data: {x: lx, y: ly, text: lx.map(() => '↓')}});
}
for (let n = 0; n < colour_bases.length; n++) {
  const b = colour_bases[n].data, x = [], y = [], lo = [], hi = [];
  for (let cycle = 0; cycle < cycles; cycle++) {
    for (let i = 0; i < b.mjd.length; i++) {
      x.push(place(b.mjd[i], cycle)); y.push(b.colour[i]); lo.push(b.colour[i] - b.error[i]); hi.push(b.colour[i] + b.error[i]);
    }
  }
  set(colour_drawn[n], {data: {x: x, y: y, low: lo, high: hi}});
}
set(xaxis, {axis_label: folded ? 'Phase (period ' + (1 / frequency).toPrecision(8) + ' d)' : 'Time (MJD, TAI)'});
set(yaxis, {axis_label: mag ? 'AB magnitude' : 'Flux density (nJy)'});
set(utc, {visible: !folded});
const state = (folded ? 'phase' : 'time') + mag;
if (plot.drawn_state !== state) {
  plot.drawn_state = state;
  ys.sort((a, b) => a - b);
  if (ys.length) {
    const low = ys[Math.floor(0.01 * (ys.length - 1))], high = ys[Math.ceil(0.99 * (ys.length - 1))];
    const pad = 0.12 * (high - low) || 0.1 * Math.abs(high) || 1;
    set(plot.y_range, mag ? {start: high + pad, end: low - pad} : {start: low - pad, end: high + pad});
  }
  if (folded) set(plot.x_range, {start: -0.05, end: 2.05});
  else if (xs.length) {
    let a = Infinity, z = -Infinity;
    for (const x of xs) { a = Math.min(a, x); z = Math.max(z, x); }
    const pad = 0.03 * (z - a) || 1;
    set(plot.x_range, {start: a - pad, end: z + pad});
  }
}
