// Tells the tools below a plot of the sky where the pointer is and what was clicked, and draws what they measure;
// nothing of it goes to the server.
const told = tools.data;
if (cb_obj.event_name === 'mousemove') told.setv({at: [cb_obj.x, cb_obj.y]}, {sync: false});
else if (cb_obj.event_name === 'mouseleave') told.setv({at: []}, {sync: false});
// The second of two quick clicks is a double one for Bokeh, also elsewhere.
else if (cb_obj.event_name === 'tap' || cb_obj.event_name === 'doubletap') told.setv({tapped: [cb_obj.x, cb_obj.y]}, {sync: false});
else line.setv({data: {x: told.ends.map((end) => end[0]), y: told.ends.map((end) => end[1])}}, {sync: false});
