// Tells the tools below a plot of the sky where the pointer is and what was clicked, and draws the ends of a distance that
// they measure; nothing of it goes to the server.
const tell = (values) => tools.data.setv(values, {sync: false});
if (cb_obj.event_name === 'mousemove') tell({at: [cb_obj.x, cb_obj.y]});
else if (cb_obj.event_name === 'mouseleave') tell({at: []});
// The second of two quick clicks is a double one for Bokeh, also elsewhere.
else if (cb_obj.event_name === 'tap' || cb_obj.event_name === 'doubletap') tell({tapped: [cb_obj.x, cb_obj.y]});
else line.setv({data: {x: cb_obj.ends.map((end) => end[0]), y: cb_obj.ends.map((end) => end[1])}}, {sync: false});
