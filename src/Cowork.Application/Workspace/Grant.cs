using System.Collections.Immutable;

using Cowork.Domain;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>A folder that a session may use, and what it may do there.</summary>
/// <param name="Root">Absolute path of a folder that the operator named. Links on the way to it are the operator's own, and are followed.</param>
/// <param name="Path">Absolute path of the session's folder: the root itself, or below it. No link below the root is followed.</param>
public sealed record Grant(string Root, string Path)
{
    /// <inheritdoc cref="FolderGrant.AllowWrite"/>
    public bool AllowWrite { get; init; } = true;

    /// <inheritdoc cref="FolderGrant.AllowCreate"/>
    public bool AllowCreate { get; init; } = true;

    /// <inheritdoc cref="FolderGrant.AllowDelete"/>
    public bool AllowDelete { get; init; } = true;

    /// <summary>Folders where writing and creating need no approval, relative to the folder; <c>.</c>: the whole folder.</summary>
    public ImmutableArray<string> OutputRoots { get; init; } = [FolderGrant.ImplicitOutputRoot];

    /// <summary>True for a path below an output root.</summary>
    /// <param name="relative">Resolved path relative to the folder.</param>
    public bool IsOutput(string relative) => relative != "." && OutputRoots.Any(root => root == "." || relative.StartsWith(root + "/", StringComparison.Ordinal));

    /// <summary>
    /// Code in a cell may change what lies below the output roots: nobody is asked about each of its writes, so it writes where the agent may write unasked. Who may create
    /// and write there can also remove what is there: a file system has no right for the one without the other.
    /// </summary>
    public bool CellsMayWrite => AllowWrite && AllowCreate;

    /// <summary>Why the grant does not allow a kind of change (<see cref="CallSubject.Kind"/>): a sentence; null: it allows it.</summary>
    public string? WhyNotGranted(string kind) => kind switch
    {
        "create" when !AllowCreate => $"The grant of {VisibleText.Of(Path)} does not allow to create files.",
        "overwrite" when !AllowWrite => $"The grant of {VisibleText.Of(Path)} does not allow to change files.",
        "delete" when !AllowDelete => $"The grant of {VisibleText.Of(Path)} does not allow to delete files.",
        "move" when !AllowDelete => $"The grant of {VisibleText.Of(Path)} does not allow to delete files, and so to move them away.",
        _ => null,
    };

    /// <summary>The folder and its rights, for models: <c>/home/ann/reports: read, create; no approval below out</c>.</summary>
    internal string Shown
    {
        get
        {
            string[] rights = ["read", .. AllowCreate ? (string[])["create"] : [], .. AllowWrite ? (string[])["change"] : [], .. AllowDelete ? (string[])["delete"] : []];
            var unasked = OutputRoots.IsEmpty ? "" : $"; no approval below {string.Join(", ", OutputRoots.Select(VisibleText.Of))}";
            return $"{VisibleText.Of(Path)}: {string.Join(", ", rights)}{unasked}";
        }
    }

    /// <summary>A folder that the operator named.</summary>
    public static Grant Of(string root) => new(root, root);

    /// <summary>The folder with what a session's creation records that it may do there.</summary>
    public Grant With(FolderGrant recorded) => this with
    {
        AllowWrite = recorded.AllowWrite,
        AllowCreate = recorded.AllowCreate,
        AllowDelete = recorded.AllowDelete,
        OutputRoots = [.. recorded.OutputRoots.Select(root => System.IO.Path.IsPathFullyQualified(root) ? GrantedPath.RelativeTo(Path, root) : root).OfType<string>()],
    };

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
    /// <summary>The grants of a session; null: one of its folders is none that the tenant may use now.</summary>
    ValueTask<Grants?> Grants(string org, Session.Open session, CancellationToken ct);

    /// <summary>Makes a session's folder: the one that is asked for, or with null its own. Refused: the tenant may not use it, or it cannot be made.</summary>
    ValueTask<(string? Path, Refusal? Refused)> Prepare(string org, SessionKey session, string? asked, CancellationToken ct);
}
