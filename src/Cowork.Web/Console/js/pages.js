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

    // Whom they work with, and what they know.
    { path: "memories", title: "Memories", key: "m", load: () => import("./pages/memories.js") },
    { path: "memories/:memory", title: "Memory", under: "memories", load: () => import("./pages/memory.js") },
    { path: "groups", title: "Groups", key: "u", load: () => import("./pages/groups.js") },
    { path: "groups/:group", title: "Group", under: "groups", load: () => import("./pages/group.js") },
    { path: "works", title: "Works", key: "w", load: () => import("./pages/works.js") },
    { path: "works/:work", title: "Work", under: "works", load: () => import("./pages/work.js") },
    { path: "connectors", title: "Connectors", key: "n", load: () => import("./pages/connectors.js") },

    // The host.
    { path: "metrics", title: "Metrics", key: "e", isApart: true, load: () => import("./pages/metrics.js") },
    { path: "health", title: "Health", key: "h", needs: "listDeadLetters", load: () => import("./pages/health.js") },
    { path: "access", title: "Access", key: "x", load: () => import("./pages/access.js") },
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
