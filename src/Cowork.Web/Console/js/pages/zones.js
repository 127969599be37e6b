// Times by the clocks of a zone, and what the clocks do there. A zone that this browser does not know is UTC.
const Minute = 60_000;
const Hour = 60 * Minute;
const Day = 24 * Hour;
// Clocks are never changed by more at once.
const ChangeMax = 3 * Hour;
const formats = new Map();

function formatOf(zone) {
    if (!formats.has(zone)) {
        const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
        try {
            formats.set(zone, new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone }));
        } catch {
            formats.set(zone, new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }));
        }
    }
    return formats.get(zone);
}

// The zone's time as if it were UTC, in ms.
export function wallOf(ms, zone) {
    const part = Object.fromEntries(formatOf(zone).formatToParts(ms).map(({ type, value }) => [type, value]));
    return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) + (ms % 1000 + 1000) % 1000;
}

export const offsetOf = (ms, zone) => Math.round((wallOf(ms, zone) - ms) / Minute);

export function offsetText(minutes) {
    const abs = Math.abs(minutes);
    return `${minutes < 0 ? "−" : "+"}${String(Math.floor(abs / 60)).padStart(2, "0")}:${String(abs % 60).padStart(2, "0")}`;
}

const clock = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });

export function inZone(ms, zone, withSeconds = false) {
    const wall = wallOf(ms, zone);
    return clock.format(wall) + (withSeconds ? `:${String(new Date(wall).getUTCSeconds()).padStart(2, "0")}` : "");
}

// What a planned time has to do with a change of the clocks; null: nothing.
export function clockNote(ms, zone) {
    const [before, at, after] = [ms - ChangeMax, ms, ms + ChangeMax].map(t => offsetOf(t, zone));
    const justBefore = offsetOf(ms - Minute, zone);
    if (at > justBefore) {
        const wall = wallOf(ms, zone);
        return `The clocks go forward: the times from ${hours.format(wall - (at - justBefore) * Minute)} to ${hours.format(wall)} do not exist on this day, and come now.`;
    }
    if (before > after) {
        const back = (before - after) * Minute;
        if (at === before && offsetOf(ms + back, zone) === after) {
            return "The clocks go back: this time is shown twice, and this is the first.";
        }
        if (at === after && offsetOf(ms - back, zone) === before) {
            return "The clocks go back: this time is shown twice, and this is the second.";
        }
    }
    return null;
}

// When the clocks of the zone change next, in ms; null: not within two years.
export function nextChange(from, zone) {
    const now = offsetOf(from, zone);
    for (let day = from + Day; day < from + 731 * Day; day += Day) {
        if (offsetOf(day, zone) !== now) {
            let [low, high] = [day - Day, day];
            while (high - low > Minute) {
                const middle = Math.floor((low + high) / 2 / Minute) * Minute;
                [low, high] = offsetOf(middle, zone) === now ? [middle, high] : [low, middle];
            }
            return high;
        }
    }
    return null;
}
