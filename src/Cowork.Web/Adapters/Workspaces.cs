using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Globalization;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>Where sessions may work. Judged by real paths, so that no link leads out; one tenant's folders are not another's.</summary>
/// <param name="mounted">What is mounted; null: what the system says.</param>
public sealed class Workspaces(HostSettings settings, ICommandExecutor commands, Func<Mounts>? mounted = null) : IWorkspaces
{
    const int PathBytesMax = 4_000;

    /// <summary>Name of the folder with the sessions' own folders, in a data directory.</summary>
    const string Folders = "workspaces";

    /// <summary>Name of the folder with the folders of groups, among those of a tenant. No tenant has this name, and nobody names a path with it: see <see cref="Find"/>.</summary>
    const string OfGroups = "@@groups";

    /// <summary>Folders that are remembered. Beyond these all are forgotten, and told anew as they are used.</summary>
    const int KnownMax = 50_000;

    static readonly Origin Actor = new("workspaces");

    readonly Func<Mounts> mountsNow = mounted ?? Mounts.Now;
    readonly string ownFolders = Path.Combine(settings.Data, Folders);
    readonly ConcurrentDictionary<WorkspaceRoot, string> ownerOf = new();
    readonly ConcurrentDictionary<(string Org, SessionKey Session, string Path), (Grant Grant, Mounts JudgedBy)> grants = new();
    readonly ConcurrentDictionary<string, (string Org, Grant Grant)> tenantOf = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public async ValueTask<(string? Path, Refusal? Refused)> Prepare(string org, SessionKey session, string? asked, CancellationToken ct)
    {
        if (asked is not null && (!Path.IsPathFullyQualified(asked) || Encoding.UTF8.GetByteCount(asked) > PathBytesMax))
        {
            return Refused($"Must be an absolute path of at most {PathBytesMax} bytes.");
        }
        try
        {
            if (asked is null)
            {
                return Made(org, new(TenantFolder(org), Path.Combine(TenantFolder(org), session.Id)));
            }
            var (grant, shared) = await Find(org, RealPath(asked), ct);
            return grant is not null ? Made(org, grant)
                : shared is not null
                    ? Refused($"The root {shared.Template} has no {WorkspaceRoot.OrgPlace} in its path, so it is one tenant's, and another one uses it (Cowork:WorkspaceRoots).")
                : Refused("The folder lies outside the configured workspace roots (Cowork:WorkspaceRoots).");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Refused("The folder cannot be made or looked at: a part of the path is a file, a broken link, or closed to the host.");
        }
    }

    /// <summary>Makes the folder of a group's session, in which no other session of the tenant may work.</summary>
    public ValueTask<(string? Path, Refusal? Refused)> Prepare(string org, GroupKey group)
    {
        var root = Path.Combine(TenantFolder(org), OfGroups);
        try
        {
            return new(Made(org, new(root, Path.Combine(root, group.Session.Id))));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new(Refused("The folder cannot be made."));
        }
    }

    /// <inheritdoc/>
    public async ValueTask<Grants?> Grants(string org, Session.Open session, CancellationToken ct)
    {
        if (session.Grants is not { } folders)
        {
            return await Grant(org, session.SessionId, session.WorkspacePath, ct) is { } own ? Application.Grants.Of(own) : null;
        }
        var found = ImmutableArray.CreateBuilder<Grant>();
        foreach (var folder in folders)
        {
            if (await Grant(org, session.SessionId, folder.Path, isAsked: true, ct) is not { } grant)
            {
                return null;
            }
            found.Add(grant.With(folder));
        }
        return Application.Grants.Of(found);
    }

    /// <summary>
    /// Judges the folders that a session of contract C asks for, as they are when every link in them is followed. Refused, with the place in the request: one of them is no
    /// folder that is there and the caller may grant.
    /// </summary>
    /// <returns>The grants as the session's creation records them: with real paths.</returns>
    public async ValueTask<(ImmutableList<FolderGrant>? Grants, Refusal? Refused)> Granted(string org, IReadOnlyList<FolderGrant> asked, CancellationToken ct)
    {
        var granted = ImmutableList.CreateBuilder<FolderGrant>();
        foreach (var (i, folder) in asked.Index())
        {
            var place = string.Create(CultureInfo.InvariantCulture, $"$.grants[{i}]");
            if (!Path.IsPathFullyQualified(folder.Path) || Encoding.UTF8.GetByteCount(folder.Path) > PathBytesMax)
            {
                return (null, GrantRefused($"{place}.path", $"Must be an absolute path of at most {PathBytesMax} bytes."));
            }
            try
            {
                var real = RealPath(folder.Path);
                if (!Directory.Exists(real))
                {
                    return (null, GrantRefused($"{place}.path", "There is no such folder, or the host cannot look at it."));
                }
                if (await WhyNotGranted(org, real, ct) is { } why)
                {
                    return (null, GrantRefused($"{place}.path", why));
                }
                if (granted.Any(other => other.Path == real))
                {
                    return (null, GrantRefused($"{place}.path", "Is granted twice."));
                }
                var outputs = ImmutableList.CreateBuilder<string>();
                foreach (var (j, root) in folder.OutputRoots.Index())
                {
                    if (OutputRootIn(real, root) is not { } output)
                    {
                        return (null, GrantRefused(
                            string.Create(CultureInfo.InvariantCulture, $"{place}.outputRoots[{j}]"), "Must lie in the folder of its grant: relative to it, or absolute."));
                    }
                    outputs.Add(output);
                }
                granted.Add(folder with { Path = real, OutputRoots = outputs.ToImmutable() });
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return (null, GrantRefused($"{place}.path", "The folder cannot be looked at: a part of the path is a file, a broken link, or closed to the host."));
            }
        }
        return (granted.ToImmutable(), null);
    }

    /// <summary>Why a folder cannot be granted to sessions of a tenant; null: it can.</summary>
    async ValueTask<string?> WhyNotGranted(string org, string real, CancellationToken ct)
    {
        if (LocalFolders.WhyProtected(real) is { } why)
        {
            return why;
        }
        if (IsOfHost(real))
        {
            return "The folder holds, or lies in, the host's own data.";
        }
        var (grant, shared) = await Place(org, real, ct);
        return grant is null
            ? shared is null ? "The folder lies outside the configured workspace roots (Cowork:WorkspaceRoots)." : "The folder lies in a workspace root of another tenant."
            : IsAnothers(org, grant) || LocalFolders.IsSame(grant, settings.Data) ? "The folder is another tenant's or the host's, under another name."
            : null;
    }

    /// <summary>An output root as a session's creation records it; null: it lies outside its grant's folder.</summary>
    /// <param name="real">The folder's path with every link followed.</param>
    static string? OutputRootIn(string real, string root)
    {
        if (root.Length == 0 || Encoding.UTF8.GetByteCount(root) > PathBytesMax)
        {
            return null;
        }
        var full = Path.TrimEndingDirectorySeparator(Path.IsPathFullyQualified(root) ? RealPath(root) : Path.GetFullPath(Path.Combine(real, root)));
        return !IsInside(real, full) ? null
            : Path.IsPathFullyQualified(root) ? full
            : full == real ? "."
            : full[(real.TrimEnd('/').Length + 1)..];
    }

    static Refusal GrantRefused(string place, string why) => Refusal.Invalid("grant_refused", place, why);

    /// <summary>The grant of a session's recorded folder; null: it is none that the tenant may use now.</summary>
    /// <param name="path">As the session's creation recorded it.</param>
    public ValueTask<Grant?> Grant(string org, SessionKey session, string path, CancellationToken ct) => Grant(org, session, path, isAsked: false, ct);

    /// <param name="isAsked">The session's creation named the folder as a grant of contract C.</param>
    async ValueTask<Grant?> Grant(string org, SessionKey session, string path, bool isAsked, CancellationToken ct)
    {
        // What is mounted since may have given the host's own data another name in the folder.
        var mounts = mountsNow();
        if (grants.TryGetValue((org, session, path), out var known) && known.JudgedBy == mounts)
        {
            return known.Grant;
        }
        try
        {
            // As it is written, since a link that has come since must not be followed; by its real place, as earlier releases wrote it.
            var grant = isAsked ? (await Place(org, path, ct)).Grant
                : (await Find(org, path, ct)).Grant ?? (IsOwn(org, session, path) ? new(Path.GetDirectoryName(path)!, path) : null);
            if (grant is null || IsAnothers(org, grant))
            {
                return null;
            }
            Forget(grants);
            grants[(org, session, path)] = (grant, mounts);
            return grant;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    static (string?, Refusal?) Refused(string why) => (null, Refusal.Invalid("workspace_refused", "$.workspace_path", why));

    (string? Path, Refusal? Refused) Made(string org, Grant grant)
    {
        Directory.CreateDirectory(grant.Root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return grant.Make() is { } error ? Refused($"The folder cannot be made or looked at. {error}")
            : IsAnothers(org, grant) ? Refused("The folder is another tenant's, under another name.")
            : (grant.Path, null);
    }

    /// <summary>The session's own folder, in the data directory of whichever host made it.</summary>
    static bool IsOwn(string org, SessionKey session, string path) =>
        (org == RequestAuthorization.LocalOrg ? $"/{Folders}" : $"/{Folders}/@{org}") is var tenants
        && (path.EndsWith($"{tenants}/{session.Id}", StringComparison.Ordinal) || path.EndsWith($"{tenants}/{OfGroups}/{session.Id}", StringComparison.Ordinal));

    string TenantFolder(string org) => org == RequestAuthorization.LocalOrg ? ownFolders : Path.Combine(ownFolders, $"@{org}");

    /// <summary>The grant of a folder among the tenant's own, or the root that holds it and is another tenant's.</summary>
    async ValueTask<(Grant? Grant, WorkspaceRoot? Shared)> Find(string org, string path, CancellationToken ct)
    {
        var own = TenantFolder(org);
        if (Below(own, path) is { } inOwn)
        {
            // "@" begins the folders of other tenants, and no session id has one.
            return inOwn == "." || inOwn[0] == '@' ? default : (new(own, Path.Combine(own, inOwn)), null);
        }
        return IsOfHost(path) ? default : await InRoots(org, path, ct);
    }

    /// <summary>The path is, holds or lies in the data directory, or the folder of the blobs, also under the name that another mount gives it.</summary>
    bool IsOfHost(string path)
    {
        foreach (var folder in (string?[])[settings.Data, settings.Blobs])
        {
            if (folder is not null && (Meet(folder, path) || (RealPath(folder) is var real && (Meet(real, path) || mountsNow().Meet(real, path)))))
            {
                return true;
            }
        }
        return false;
    }

    static bool Meet(string one, string other) => IsInside(one, other) || IsInside(other, one);

    /// <summary>
    /// The grant of a folder that a session of contract C asked for: in a configured root, or, for the local user, anywhere but where the system and secrets lie.
    /// </summary>
    async ValueTask<(Grant? Grant, WorkspaceRoot? Shared)> Place(string org, string path, CancellationToken ct)
    {
        if (IsOfHost(path) || LocalFolders.WhyProtected(path) is not null)
        {
            return default;
        }
        var found = await InRoots(org, path, ct);
        // The roots are where the tenants' folders lie: what is not this one's there may be another's.
        return found.Grant is not null || found.Shared is not null || settings.TokenMode || org != RequestAuthorization.LocalOrg
            || settings.WorkspaceRoots.Any(root => Meet(root.Common, path) || Meet(RealPath(root.Common), path))
            ? found
            : (new("/", path), null);
    }

    /// <summary>The grant of a folder in the configured roots, or the root that holds it and is another tenant's.</summary>
    async ValueTask<(Grant? Grant, WorkspaceRoot? Shared)> InRoots(string org, string path, CancellationToken ct)
    {
        Grant? grant = null;
        foreach (var root in settings.WorkspaceRoots)
        {
            if (root.Of(org) is not { } folder)
            {
                continue;
            }
            var inRoot = Below(folder, path);
            // A root may lie in another one, and both must be the tenant's then.
            if (!root.IsPerTenant && (inRoot is not null || IsInside(path, folder)) && await Owner(root, org, ct) != org)
            {
                return (null, root);
            }
            grant ??= inRoot is null ? null : new(folder, inRoot == "." ? folder : Path.Combine(folder, inRoot));
        }
        return (grant, null);
    }

    /// <summary>The tenant of a root that is one tenant's: this one, when it is nobody's yet.</summary>
    async ValueTask<string> Owner(WorkspaceRoot root, string org, CancellationToken ct)
    {
        if (ownerOf.TryGetValue(root, out var known))
        {
            return known;
        }
        var claimed = await commands.Execute(RequestAuthorization.LocalOrg, Actor, new ClaimWorkspaceRoot(root, org), ct);
        return ownerOf[root] = claimed.Refused?.Existing ?? org;
    }

    /// <summary>A folder or root that another tenant has under another name: through a bind mount, or on a file system that does not tell case.</summary>
    bool IsAnothers(string org, Grant grant)
    {
        if (grant.Identity() is not var (root, folder))
        {
            return false;
        }
        Forget(tenantOf);
        // The folder of the local tenant holds those of the others; no session works in it.
        return (grant.Root != ownFolders && grant.Root != "/" && IsKnown(root, Application.Grant.Of(grant.Root))) || IsKnown(folder, grant);

        bool IsKnown(string identity, Grant place)
        {
            var known = tenantOf.GetOrAdd(identity, (org, place));
            if (known.Org == org)
            {
                return false;
            }
            // A folder that was removed leaves its number to the next one that is made.
            if (known.Grant.Identity()?.Folder == identity)
            {
                return true;
            }
            tenantOf[identity] = (org, place);
            return false;
        }
    }

    static void Forget<TKey, TValue>(ConcurrentDictionary<TKey, TValue> known)
        where TKey : notnull
    {
        if (known.Count > KnownMax)
        {
            known.Clear();
        }
    }

    /// <summary>The path below a folder, by the folder's name or its real place; <c>.</c>: the folder itself; null: outside.</summary>
    static string? Below(string folder, string path)
    {
        var place = IsInside(folder, path) ? folder : RealPath(folder) is var real && IsInside(real, path) ? real : null;
        return place is null ? null : path == place ? "." : path[(place.TrimEnd('/').Length + 1)..];
    }

    static bool IsInside(string folder, string path) =>
        path == folder || folder == "/" || (path.Length > folder.Length && path[folder.Length] == '/' && path.StartsWith(folder, StringComparison.Ordinal));

    /// <summary>The path with every link in it followed, as far as it exists; the rest as it is written.</summary>
    static string RealPath(string path, int links = 0)
    {
        var real = "/";
        var parts = Path.GetFullPath(path).Split('/', StringSplitOptions.RemoveEmptyEntries);
        for (var i = 0; i < parts.Length; i++)
        {
            var next = Path.Combine(real, parts[i]);
            if (new FileInfo(next).LinkTarget is { } target)
            {
                // As many as Linux itself follows.
                return links == 40
                    ? throw new IOException("Too many links.")
                    : RealPath(Path.Combine([real, target, .. parts[(i + 1)..]]), links + 1);
            }
            real = next;
        }
        return real;
    }
}
