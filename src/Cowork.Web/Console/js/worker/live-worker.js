// One stream for all tabs of the console: a browser opens six connections to a host over HTTP/1.1, and six tabs with a stream each would leave none.
import { StreamSet } from "../live-core.js";

const streams = new StreamSet();

onconnect = event => streams.attach(event.ports[0]);
