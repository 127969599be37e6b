using System.Text;

using Cowork.Domain;

namespace Cowork.Web;

/// <summary>Where sessions may work. Judged by real paths, so that no link leads out; one tenant's folders are not another's.</summary>
public sealed class Workspaces(HostSettings settings)
{
    const int PathBytesMax = 4_000;

    readonly string ownFolders = Path.Combine(settings.Data, "workspaces");

    /// <summary>The session's folder, made when missing: the one that was asked for, or its own below the data directory.</summary>
    public (string? Path, Refusal? Refused) Prepare(string org, SessionKey session, string? asked)
    {
        if (asked is null)
        {
            var own = Path.Combine(TenantFolder(org), session.Id);
            Directory.CreateDirectory(own);
            return (own, null);
        }
        if (!Path.IsPathFullyQualified(asked) || Encoding.UTF8.GetByteCount(asked) > PathBytesMax)
        {
            return Refused($"Must be an absolute path of at most {PathBytesMax} bytes.");
        }
        var path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(asked));
        try
        {
            // Before anything is made: a path through a link must not make folders outside.
            if (!IsAllowed(org, RealPath(path)))
            {
                return Outside();
            }
            Directory.CreateDirectory(path);
            var real = RealPath(path);
            return IsAllowed(org, real) ? (real, null) : Outside();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Refused("The folder cannot be made or looked at: a part of the path is a file, a broken link, or closed to the host.");
        }

        (string?, Refusal?) Outside() => Refused("The folder lies outside the configured workspace roots (Cowork:WorkspaceRoots).");
        static (string?, Refusal?) Refused(string why) => (null, Refusal.Invalid("workspace_refused", "$.workspace_path", why));
    }

    string TenantFolder(string org) => org == Http.RequestAuthorization.LocalOrg ? ownFolders : Path.Combine(ownFolders, $"@{org}");

    bool IsAllowed(string org, string real)
    {
        var data = RealPath(settings.Data);
        if (IsInside(data, real) || IsInside(real, data))
        {
            var folder = RealPath(TenantFolder(org));
            // "@" begins the folders of other tenants, and no session id has one.
            return real != folder && IsInside(folder, real) && real[folder.Length + 1] != '@';
        }
        return settings.WorkspaceRoots.Any(root => IsInside(RealPath(Path.TrimEndingDirectorySeparator(root)), real));
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
