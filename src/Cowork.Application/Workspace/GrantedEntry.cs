using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>
/// A name in a folder inside the grants, for creating, replacing, moving or removing the file of that name. The folder is opened from the deciding grant's open folder
/// step by step, following no link, and stays open; the change applies to the name in that folder. A program that changes links or swaps folders meanwhile
/// makes the call fail; nothing outside the grants changes.
/// </summary>
public sealed class GrantedEntry : IDisposable
{
    /// <summary>Error of <see cref="Open"/>: a folder on the path is missing and could be created.</summary>
    internal const string NotFound = "There is no such file or folder.";

    /// <summary>Error of <see cref="Write"/>: the name was free and is taken now. An entry opened again shows by what.</summary>
    internal const string NameTaken = "Something of that name appeared just now.";

    const int DefaultMode = 0x1b6;

    readonly SafeFileHandle folder;
    readonly SafeFileHandle? file;
    readonly int mode;
    readonly string? version;
    readonly string name;

    GrantedEntry(SafeFileHandle folder, string name, Grants grants, Grant grant, string relative, SafeFileHandle? file, Linux.Stat? stat)
    {
        (this.folder, this.name, this.file) = (folder, name, file);
        (Grant, Relative, Name) = (grant, relative, grants.NameOf(grant, relative));
        (mode, version) = (stat?.Mode ?? DefaultMode, stat?.Version);
        IsDirectory = stat?.Type == Linux.FileType.Directory;
        IsLink = stat?.Type == Linux.FileType.Link;
        WhyProtected = stat is { } there ? GrantedPath.ProtectionOf(there) : null;
    }

    /// <summary>The grant that decides about the entry.</summary>
    public Grant Grant { get; }

    /// <summary>The path relative to that grant's folder, with links on the way resolved.</summary>
    public string Relative { get; }

    /// <summary>The path as <see cref="Grants.NameOf"/> has it.</summary>
    public string Name { get; }

    /// <summary>The path for people and models.</summary>
    public string Shown => VisibleText.Of(Name);

    /// <summary>A file, folder or link has the name.</summary>
    public bool Exists => file is not null;

    public bool IsDirectory { get; }

    public bool IsLink { get; }

    /// <summary>Why the entry must not be changed; null: it is a regular file or a folder, or the name is free.</summary>
    public string? WhyProtected { get; }

    /// <summary>Opens a path of a call. Answers the entry, or the error.</summary>
    /// <param name="path">Relative to the first grant, or absolute.</param>
    /// <param name="makeFolders">Creates missing folders on the way.</param>
    public static (GrantedEntry? Entry, string? Error) Open(Grants grants, string path, bool makeFolders)
    {
        using var opened = new OpenedGrants(grants);
        if (opened.Find(path, out var start, out var text) is { } invalid)
        {
            return (null, ErrorText(invalid));
        }
        if (text == ".")
        {
            return (null, "It is the session's folder itself.");
        }
        var (parent, name) = text.LastIndexOf('/') is var slash and > 0 ? (text[..slash], text[(slash + 1)..]) : (".", text);
        Grant grant;
        string folderPath;
        using (var granted = GrantedPath.Open(grants, Path.Combine(start.Grant.Path, parent)))
        {
            switch (granted)
            {
                case GrantedPath.Found { IsDirectory: true } found:
                    (grant, folderPath) = (found.Grant, found.Relative);
                    break;
                case GrantedPath.Missing missing when makeFolders:
                    (grant, folderPath) = (missing.Grant, missing.Relative);
                    break;
                case GrantedPath.Found found:
                    return (null, $"{found.Shown} is not a folder.");
                default:
                    return (null, ErrorText(granted));
            }
        }
        if (opened.HandleOf(grant) is not { } root)
        {
            return (null, NotFound);
        }
        var (folder, why) = Grant.OpenFolder(root, folderPath, makeFolders);
        if (folder is null)
        {
            return (null, why);
        }
        if (Linux.RealPath(folder) is not { } realFolder || opened.Deciding(realFolder) is not var (deciding, relative))
        {
            folder.Dispose();
            return (null, "The path leads out of the folders granted to the session.");
        }
        var entry = Linux.OpenEntry(folder, name, out var error);
        var stat = entry is null ? null : Linux.Status(entry);
        if (entry is null ? error != Linux.NoSuchFile : stat is null)
        {
            entry?.Dispose();
            folder.Dispose();
            return (null, error == Linux.NameTooLong ? "A name in the path is too long." : "It cannot be looked at.");
        }
        return (new(folder, name, grants, deciding, relative == "." ? name : $"{relative}/{name}", entry, stat), null);
    }

    /// <summary>Opens the file that had the name when the entry was opened.</summary>
    /// <exception cref="InvalidOperationException">The name was free, or the entry is <see cref="WhyProtected"/> or a directory.</exception>
    /// <exception cref="IOException">The system refuses.</exception>
    /// <exception cref="UnauthorizedAccessException">The host has no permission.</exception>
    public FileStream OpenRead() => file is not null && WhyProtected is null && !IsDirectory
        ? new(Linux.ProcPath(file), new FileStreamOptions { Share = FileShare.ReadWrite | FileShare.Delete, BufferSize = 0 })
        : throw new InvalidOperationException(WhyProtected ?? "There is no such file.");

    /// <summary>
    /// Replaces the content: writes a temporary file, syncs it to the disk and renames it, so that readers see the old content or the new. Answers the error;
    /// null: success.
    /// </summary>
    /// <param name="token">The same at each attempt, so that the next attempt removes a temporary file that the last one left.</param>
    public string? Write(ReadOnlyMemory<byte> content, string token)
    {
        var temporary = $".{Domain.Ids.KeyOf($"{token} {name}")}.writing";
        _ = Linux.Remove(folder, temporary);
        using var writing = Linux.CreateFile(folder, temporary, DefaultMode, out var error);
        if (writing is null)
        {
            return Grant.ErrorText(error);
        }
        try
        {
            RandomAccess.Write(writing, content.Span, 0);
            RandomAccess.FlushToDisk(writing);
        }
        catch (IOException)
        {
            _ = Linux.Remove(folder, temporary);
            return "The host cannot write it: the disk may be full.";
        }
        Linux.GiveToOwnerOf(folder, writing);
        if (Exists)
        {
            _ = Linux.SetMode(writing, mode);
        }
        error = Linux.Rename(folder, temporary, folder, name, replace: Exists);
        if (error != 0)
        {
            _ = Linux.Remove(folder, temporary);
            return error == Linux.Exists ? NameTaken : Grant.ErrorText(error);
        }
        Linux.Sync(folder);
        return null;
    }

    /// <summary>
    /// Renames the file to another entry's name, which must be free. It fails if the file was changed or replaced since the entry was opened. Answers the
    /// error; null: success.
    /// </summary>
    public string? MoveTo(GrantedEntry target)
    {
        using (var current = Linux.OpenEntry(folder, name, out _))
        {
            if (current is null || Linux.Status(current)?.Version != version)
            {
                return "It has changed just now.";
            }
        }
        var error = Linux.Rename(folder, name, target.folder, target.name, replace: false);
        if (error != 0)
        {
            return error switch
            {
                Linux.Exists => "Something of the new name is there already.",
                Linux.OtherDevice => "The two places lie on different disks.",
                _ => Grant.ErrorText(error),
            };
        }
        Linux.Sync(target.folder);
        Linux.Sync(folder);
        return null;
    }

    /// <summary>Removes the file. Answers the error; null: success.</summary>
    public string? Remove()
    {
        var error = Linux.Remove(folder, name);
        if (error == 0)
        {
            Linux.Sync(folder);
        }
        return error == 0 ? null : Grant.ErrorText(error);
    }

    public void Dispose()
    {
        folder.Dispose();
        file?.Dispose();
    }

    static string ErrorText(GrantedPath path) => path switch
    {
        GrantedPath.Invalid invalid => invalid.Reason,
        GrantedPath.Missing missing => missing.Reason,
        _ => "The path leads out of the folders granted to the session.",
    };
}
