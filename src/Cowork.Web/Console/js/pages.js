// The pages, one a line: its address below /console/ (":name" is a parameter), where it stands in the navigation (and the key behind g), and the module that shows it.
// A module has one function, default export: page(context). needs: an operation of the API that the caller must be allowed (GET /me), or the page is not offered.
export const pages = [
    // What is going on.
    { path: "", title: "Overview", key: "o", load: () => import("./pages/overview.js") },
    { path: "feed", title: "Feed", key: "f", needs: "listTenantEvents", load: () => import("./pages/feed.js") },
    { path: "runs", title: "Runs", key: "r", load: () => import("./pages/runs.js") },
    { path: "runs/:run", title: "Run", under: "runs", load: () => import("./pages/run.js") },
    { path: "compare", title: "Compare", key: "d", needs: "getRunDiff", load: () => import("./pages/compare.js") },
    { path: "sessions", title: "Sessions", key: "s", load: () => import("./pages/sessions.js") },
    { path: "sessions/:session", title: "Session", under: "sessions", load: () => import("./pages/session.js") },
    { path: "approvals", title: "Approvals", key: "a", load: () => import("./pages/approvals.js") },

    // What agents work with.
    { path: "schedules", title: "Schedules", key: "c", load: () => import("./pages/schedules.js") },
    { path: "schedules/:schedule", title: "Schedule", under: "schedules", load: () => import("./pages/schedule.js") },
    { path: "skills", title: "Skills", key: "k", load: () => import("./pages/skills.js") },
    { path: "skills/:skill", title: "Skill", under: "skills", load: () => import("./pages/skill.js") },
    { path: "scratchpads", title: "Scratchpads", key: "p", load: () => import("./pages/scratchpads.js") },
    { path: "scratchpads/:pad", title: "Scratchpad", under: "scratchpads", load: () => import("./pages/scratchpad.js") },
    { path: "files", title: "Files", key: "i", load: () => import("./pages/files.js") },
    { path: "artifacts", title: "Artifacts", key: "y", load: () => import("./pages/artifacts.js") },
    { path: "artifacts/:artifact", title: "Artifact", under: "artifacts", load: () => import("./pages/artifact.js") },

    // The host.
];

// {page, params}; null: there is no page at the address.
export function find(address) {
    const parts = address.split("/").filter(Boolean);
    for (const page of pages) {
        const wanted = page.path.split("/").filter(Boolean);
        if (wanted.length !== parts.length) {
            continue;
        }
        const params = {};
        if (wanted.every((part, i) => part.startsWith(":") ? (params[part.slice(1)] = decode(parts[i])) : part === parts[i])) {
            return { page, params };
        }
    }
    return null;
}

function decode(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}
