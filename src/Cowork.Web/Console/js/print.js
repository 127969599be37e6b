// What every page says on paper: where it is from, when and by whom it was printed, and whose clock its times are of.
import { h } from "./dom.js";
import { offsetOf, paperTime, zone } from "./format.js";
import { me } from "./store.js";

let line = null;

addEventListener("beforeprint", () => {
    const main = document.getElementById("main");
    line?.remove();
    line = main && h("p.on-paper", h("span.address", location.href), h("span", `Printed ${paperTime(Date.now(), { milliseconds: false })}${me.actor ? ` by ${me.actor}` : ""}`),
        h("span", `Times of ${zone} (${offsetOf(Date.now())} now)`));
    line && main.prepend(line);
});
addEventListener("afterprint", () => line?.remove());
