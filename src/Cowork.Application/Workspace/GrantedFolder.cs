using System.Diagnostics.CodeAnalysis;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>A session's folder that is open, for a program of another user that works in it.</summary>
public sealed class GrantedFolder : IDisposable
{
    readonly SafeFileHandle folder;

    GrantedFolder(SafeFileHandle folder, Linux.Stat status) =>
        (this.folder, Identity, User, Group) = (folder, status.Identity, status.User, status.Group);

    /// <summary>A path to the open folder for other processes, as long as it is open.</summary>
    public string Place => $"/proc/{Environment.ProcessId}/fd/{folder.DangerousGetHandle()}";

    /// <summary>Its path, with every link followed.</summary>
    /// <exception cref="IOException">It has none any more.</exception>
    public string RealPath => Linux.RealPath(folder) ?? throw new IOException("The folder is gone.");

    /// <summary>Device and inode: <c>254:0:11698211</c>.</summary>
    public string Identity { get; }

    /// <summary>The user whose folder it is.</summary>
    public uint User { get; private set; }

    public uint Group { get; private set; }

    /// <summary>This process acts as root, and can give files away.</summary>
    public static bool IsRoot => Linux.EffectiveUser() == 0;

    /// <summary>Opens the folder. Answers the error; null: it is open.</summary>
    /// <param name="makeFolders">Makes what is missing of it.</param>
    public static bool TryOpen(Grant grant, bool makeFolders, [NotNullWhen(true)] out GrantedFolder? folder, [NotNullWhen(false)] out string? error)
    {
        (var handle, error) = grant.Open(makeFolders);
        folder = handle is not null && Linux.Status(handle) is { } status ? new(handle, status) : null;
        error = folder is null ? error ?? "It cannot be looked at." : null;
        return folder is not null;
    }

    /// <summary>
    /// Gives root's folder, and all in it that is root's, to a user. A file with several names stays: another name may lie outside. Nobody but this process may be at
    /// work in the folder.
    /// </summary>
    /// <exception cref="IOException">The system refuses, or a folder cannot be listed.</exception>
    /// <exception cref="UnauthorizedAccessException">A folder cannot be listed.</exception>
    public void GiveTo(uint user)
    {
        // The folder itself last: a walk that was cut off begins again, since the folder is still root's.
        GiveAllIn(folder);
        Give(folder);
        (User, Group) = (user, user);

        void GiveAllIn(SafeFileHandle open)
        {
            foreach (var name in Directory.EnumerateFileSystemEntries(Linux.ProcPath(open)).Select(Path.GetFileName))
            {
                using var entry = Linux.OpenEntry(open, name!, out _);
                if (entry is null || Linux.Status(entry) is not { User: 0 } status)
                {
                    continue;
                }
                if (status.Type == Linux.FileType.Directory)
                {
                    GiveAllIn(entry);
                    Give(entry);
                }
                else if (status.Links == 1)
                {
                    Give(entry);
                }
            }
        }

        void Give(SafeFileHandle entry)
        {
            if (Linux.Give(entry, user, user) is var error and not 0)
            {
                throw new IOException($"A file of the workspace cannot be given to the user with id {user} (error {error}).");
            }
        }
    }

    public void Dispose() => folder.Dispose();
}
