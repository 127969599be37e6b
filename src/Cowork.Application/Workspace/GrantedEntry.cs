using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>
/// A name in a folder inside the grant, for making, replacing, moving or removing the file of that name. The folder is reached from the grant's own
/// open folder step by step, none of them a link, and held open; the change is made to the name in that very folder. Whoever turns links or
/// swaps folders meanwhile makes the call fail; nothing outside the grant changes.
/// </summary>
public sealed class GrantedEntry : IDisposable
{
    /// <summary>Why there is no entry when a folder on its way is missing, so that it could be made.</summary>
    internal const string Nothing = "There is no such file or folder.";

    /// <summary>What <see cref="Write"/> answers when the name was free and is not any more: opened again, the entry shows what has it.</summary>
    internal const string Appeared = "Something of that name appeared just now.";

    const int UsualMode = 0x1b6;

    readonly SafeFileHandle folder;
    readonly SafeFileHandle? file;
    readonly int mode;
    readonly string? version;
    readonly string name;

    GrantedEntry(SafeFileHandle folder, string name, string relative, SafeFileHandle? file, Linux.Stat? stat)
    {
        (this.folder, this.name, this.file) = (folder, name, file);
        (Relative, mode, version) = (relative, stat?.Mode ?? UsualMode, stat?.Version);
        IsDirectory = stat?.Type == Linux.FileType.Directory;
        IsLink = stat?.Type == Linux.FileType.Link;
        Untouchable = stat is { } there ? GrantedPath.WhyNot(there) : null;
    }

    /// <summary>Where it lies relative to the grant, links on the way followed.</summary>
    public string Relative { get; }

    /// <summary>Something has the name.</summary>
    public bool Exists => file is not null;

    public bool IsDirectory { get; }

    public bool IsLink { get; }

    /// <summary>Why the thing of that name is not changed; null: it is an ordinary file or folder, or nothing has the name.</summary>
    public string? Untouchable { get; }

    /// <summary>Opens a path of a call. Answers the entry, or why there is none.</summary>
    /// <param name="grant">Absolute path of the granted folder.</param>
    /// <param name="path">Relative to the grant, or absolute.</param>
    /// <param name="make">Makes the folders that are missing on the way.</param>
    public static (GrantedEntry? Entry, string? Why) Open(string grant, string path, bool make)
    {
        if (GrantedPath.Begin(grant, path, out var root, out var real, out var text) is { } not)
        {
            return (null, WordsFor(not));
        }
        using (root)
        {
            if (text == ".")
            {
                return (null, "It is the session's folder itself.");
            }
            var (parent, name) = text.LastIndexOf('/') is var slash and > 0 ? (text[..slash], text[(slash + 1)..]) : (".", text);
            string way;
            using (var granted = GrantedPath.Open(real, parent))
            {
                switch (granted)
                {
                    case GrantedPath.Found { IsDirectory: true } found:
                        way = found.Relative;
                        break;
                    case GrantedPath.Missing missing when make:
                        way = missing.Relative;
                        break;
                    case GrantedPath.Found found:
                        return (null, $"{found.Relative} is no folder.");
                    default:
                        return (null, WordsFor(granted));
                }
            }
            var (folder, why) = Walk(root, way, make);
            if (folder is null)
            {
                return (null, why);
            }
            if (Linux.RealPath(folder) is not { } lies || GrantedPath.Below(real, lies) is not { } relative)
            {
                folder.Dispose();
                return (null, "The path leads out of the folders granted to the session.");
            }
            var entry = Linux.OpenEntry(folder, name, out var error);
            var stat = entry is null ? null : Linux.Look(entry);
            if (entry is null ? error != Linux.NoSuchFile : stat is null)
            {
                entry?.Dispose();
                folder.Dispose();
                return (null, error == Linux.NameTooLong ? "A name in the path is too long." : "It cannot be looked at.");
            }
            return (new(folder, name, relative == "." ? name : $"{relative}/{name}", entry, stat), null);
        }
    }

    /// <summary>The file of that name as it was when the entry was opened, for reading.</summary>
    /// <exception cref="InvalidOperationException">There was none, or it is <see cref="Untouchable"/> or a directory.</exception>
    /// <exception cref="IOException">The system refuses, or <see cref="UnauthorizedAccessException"/>.</exception>
    public FileStream OpenRead() => file is not null && Untouchable is null && !IsDirectory
        ? new(Linux.Proc(file), new FileStreamOptions { Share = FileShare.ReadWrite | FileShare.Delete, BufferSize = 0 })
        : throw new InvalidOperationException(Untouchable ?? "There is no such file.");

    /// <summary>
    /// Gives the name a whole new content: written beside, brought to the disk, and renamed. Readers see the old content or the new. Answers what
    /// went wrong, or null.
    /// </summary>
    /// <param name="token">The same at every attempt, so that what an attempt left beside is cleared away by the next.</param>
    public string? Write(ReadOnlyMemory<byte> content, string token)
    {
        var beside = $".{Domain.Ids.KeyOf($"{token} {name}")}.writing";
        _ = Linux.Remove(folder, beside);
        using var writing = Linux.MakeFile(folder, beside, UsualMode, out var error);
        if (writing is null)
        {
            return Words(error);
        }
        try
        {
            RandomAccess.Write(writing, content.Span, 0);
            RandomAccess.FlushToDisk(writing);
        }
        catch (IOException)
        {
            _ = Linux.Remove(folder, beside);
            return "The host cannot write it: the disk may be full.";
        }
        if (Exists)
        {
            _ = Linux.SetMode(writing, mode);
        }
        error = Linux.Rename(folder, beside, folder, name, replace: Exists);
        if (error != 0)
        {
            _ = Linux.Remove(folder, beside);
            return error == Linux.Exists ? Appeared : Words(error);
        }
        Linux.Sync(folder);
        return null;
    }

    /// <summary>
    /// Gives the file the name of another entry, which must be free; not one that has changed, or been put in its place, since the entry was opened.
    /// Answers what went wrong, or null.
    /// </summary>
    public string? MoveTo(GrantedEntry to)
    {
        using (var now = Linux.OpenEntry(folder, name, out _))
        {
            if (now is null || Linux.Look(now)?.Version != version)
            {
                return "It has changed just now.";
            }
        }
        var error = Linux.Rename(folder, name, to.folder, to.name, replace: false);
        if (error != 0)
        {
            return error switch
            {
                Linux.Exists => "Something of the new name is there already.",
                Linux.OtherDevice => "The two places lie on different disks.",
                _ => Words(error),
            };
        }
        Linux.Sync(to.folder);
        Linux.Sync(folder);
        return null;
    }

    /// <summary>Removes the file. Answers what went wrong, or null.</summary>
    public string? Remove()
    {
        var error = Linux.Remove(folder, name);
        if (error == 0)
        {
            Linux.Sync(folder);
        }
        return error == 0 ? null : Words(error);
    }

    public void Dispose()
    {
        folder.Dispose();
        file?.Dispose();
    }

    static (SafeFileHandle? Folder, string? Why) Walk(SafeFileHandle root, string way, bool make)
    {
        var at = Linux.OpenFolder(root, ".", out var error);
        foreach (var step in way == "." ? [] : way.Split('/'))
        {
            if (at is null)
            {
                break;
            }
            var next = Linux.OpenFolder(at, step, out error);
            if (next is null && error == Linux.NoSuchFile && make)
            {
                var made = Linux.MakeFolder(at, step);
                next = made is 0 or Linux.Exists ? Linux.OpenFolder(at, step, out error) : null;
                error = made is 0 or Linux.Exists ? error : made;
            }
            at.Dispose();
            at = next;
        }
        return at is null ? (null, Words(error)) : (at, null);
    }

    static string Words(int error) => error switch
    {
        Linux.NoSuchFile => Nothing,
        Linux.AccessDenied or Linux.NotPermitted => "The host may not change it.",
        Linux.NameTooLong => "A name in the path is too long.",
        _ => $"The system refuses (error {error}).",
    };

    static string WordsFor(GrantedPath not) => not switch
    {
        GrantedPath.Invalid invalid => invalid.Why,
        GrantedPath.Missing missing => missing.Why,
        _ => "The path leads out of the folders granted to the session.",
    };
}
