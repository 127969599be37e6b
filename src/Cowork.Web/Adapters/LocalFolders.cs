using Cowork.Application;

namespace Cowork.Web;

/// <summary>Folders of the machine that no session is granted, wherever the operator lets sessions work: those of the system, and those that hold people's keys.</summary>
static class LocalFolders
{
    static readonly string[] OfSystem =
    [
        "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/cache", "/var/lib", "/var/log", "/var/run",
        "/var/spool",
    ];

    /// <summary>Names of folders whose programs keep keys and tokens in them.</summary>
    static readonly string[] OfSecrets = [".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".password-store", "gcloud", "secrets"];

    /// <summary>Folders that are people's homes: each holds keys, and what their shells execute.</summary>
    static IEnumerable<string> Homes =>
        ["/root", Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), .. Directory.Exists("/home") ? Directory.GetDirectories("/home") : []];

    /// <summary>Why no session may have a folder, as a sentence; null: nothing speaks against it.</summary>
    /// <param name="real">Absolute path, with every link followed.</param>
    public static string? WhyProtected(string real) =>
        real == "/" ? "The root of the file system is not granted."
        : real is "/tmp" or "/var/tmp" ? "The folder holds other programs' files. Grant a folder below."
        : OfSystem.Append(AppContext.BaseDirectory.TrimEnd('/')).Any(folder => IsInside(folder, real) || IsInside(real, folder))
            ? "The folder holds, or lies in, a folder of the system or of this host's program."
        : real.Split('/').Any(part => OfSecrets.Contains(part, StringComparer.OrdinalIgnoreCase)) ? "The folder is one that holds keys."
        : Homes.Any(home => home.Length > 1 && IsInside(real, home)) ? "The folder is, or holds, a person's home with the keys in it. Grant a folder below."
        : null;

    /// <summary>A granted folder is another one, or holds it, under another name: through a bind mount, or on a file system that does not tell case.</summary>
    /// <param name="path">Absolute path of the other one.</param>
    public static bool IsSame(Grant grant, string path)
    {
        var identity = grant.Identity()?.Folder;
        for (var folder = path; identity is not null && folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (Grant.Of(folder).Identity()?.Folder == identity)
            {
                return true;
            }
        }
        return false;
    }

    static bool IsInside(string folder, string path) =>
        path == folder || (path.Length > folder.Length && path[folder.Length] == '/' && path.StartsWith(folder, StringComparison.Ordinal));
}
