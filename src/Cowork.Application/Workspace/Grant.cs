using Cowork.Domain;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>A folder that a session may use.</summary>
/// <param name="Root">Absolute path of a folder that the operator named. Links on the way to it are the operator's own, and are followed.</param>
/// <param name="Path">Absolute path of the session's folder: the root itself, or below it. No link below the root is followed.</param>
public sealed record Grant(string Root, string Path)
{
    /// <summary>A folder that the operator named.</summary>
    public static Grant Of(string root) => new(root, root);

    /// <summary>Makes what is missing of the folder. Answers the error; null: it is there.</summary>
    public string? Make()
    {
        var (folder, error) = Open(makeFolders: true);
        folder?.Dispose();
        return error;
    }

    /// <summary>Device and inode of the folder and of its root, which tell a twin under another name; null: it cannot be opened.</summary>
    public (string Root, string Folder)? Identity()
    {
        using var root = Linux.Open(Root, out _);
        var (folder, _) = Open();
        using (folder)
        {
            return root is not null && folder is not null && Linux.Status(root) is { } ofRoot && Linux.Status(folder) is { } ofFolder
                ? (ofRoot.Identity, ofFolder.Identity)
                : null;
        }
    }

    /// <summary>
    /// Opens the folder from its root step by step, each in the open folder before it: what a program puts in the place of a step is opened as a folder or not at
    /// all, so it leads nowhere else.
    /// </summary>
    internal (SafeFileHandle? Folder, string? Error) Open(bool makeFolders = false)
    {
        using var root = Linux.Open(Root, out var error);
        var relative = GrantedPath.RelativeTo(Root, Path) ?? throw new InvalidOperationException($"{Path} is not below {Root}.");
        return root is null ? (null, ErrorText(error)) : OpenFolder(root, relative, makeFolders);
    }

    /// <param name="path">Relative to the open folder, without dots; <c>.</c>: the folder itself.</param>
    internal static (SafeFileHandle? Folder, string? Error) OpenFolder(SafeFileHandle from, string path, bool makeFolders)
    {
        var current = Linux.OpenFolder(from, ".", out var error);
        foreach (var step in path == "." ? [] : path.Split('/'))
        {
            if (current is null)
            {
                break;
            }
            var next = Linux.OpenFolder(current, step, out error);
            if (next is null && error == Linux.NoSuchFile && makeFolders)
            {
                var made = Linux.CreateFolder(current, step);
                next = made is 0 or Linux.Exists ? Linux.OpenFolder(current, step, out error) : null;
                error = made is 0 or Linux.Exists ? error : made;
                if (made == 0 && next is not null)
                {
                    Linux.GiveToOwnerOf(current, next);
                }
            }
            current.Dispose();
            current = next;
        }
        return current is null ? (null, ErrorText(error)) : (current, null);
    }

    internal static string ErrorText(int error) => error switch
    {
        Linux.NoSuchFile => GrantedEntry.NotFound,
        Linux.AccessDenied or Linux.NotPermitted => "The host may not change it.",
        Linux.NameTooLong => "A name in the path is too long.",
        Linux.NoFolder or Linux.TooManyLinks => "A part of the path is a link or a file.",
        _ => $"The system refuses (error {error}).",
    };
}

/// <summary>Where sessions may work.</summary>
public interface IWorkspaces
{
    /// <summary>The grant of a session's recorded folder; null: it lies in none of the folders that the tenant may use now.</summary>
    /// <param name="path">As the session's creation recorded it.</param>
    ValueTask<Grant?> Grant(string org, SessionKey session, string path, CancellationToken ct);

    /// <summary>Makes a session's folder: the one that is asked for, or with null its own. Refused: the tenant may not use it, or it cannot be made.</summary>
    ValueTask<(string? Path, Refusal? Refused)> Prepare(string org, SessionKey session, string? asked, CancellationToken ct);
}
