using System.Text;

using Cowork.Application;

namespace Cowork.Web;

/// <summary>A host's private state, held by one host at a time: the file <c>node</c> is locked while the host lives and keeps its node id.</summary>
public sealed class DataDirectory : IDisposable
{
    const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    readonly FileStream node;

    DataDirectory(string path, FileStream node, IReadOnlyList<string> previousNodes)
    {
        Path = path;
        this.node = node;
        PreviousNodes = previousNodes;
    }

    public string Path { get; }

    /// <summary>Ids under which earlier hosts on this directory worked. They are dead: the lock says so.</summary>
    public IReadOnlyList<string> PreviousNodes { get; }

    /// <summary>Takes the directory, made when missing.</summary>
    /// <exception cref="DataDirectoryTakenException">Another host has it.</exception>
    /// <exception cref="DataDirectoryUnsafeException">It belongs to another user, or others may change it.</exception>
    public static DataDirectory Take(string path)
    {
        Directory.CreateDirectory(path, OwnerOnly);
        if (FolderOwner.WhyNotOurs(path) is { } why)
        {
            throw new DataDirectoryUnsafeException(path, why);
        }
        foreach (var ours in (string[])["blobs", "workspaces"])
        {
            // Whoever may enter the directory itself finds these closed, whatever the umask is.
            Directory.CreateDirectory(In(path, ours), OwnerOnly);
        }
        FileStream node;
        try
        {
            node = new(In(path, "node"), new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
        }
        catch (IOException) when (File.Exists(In(path, "node")) && !Directory.Exists(In(path, "node")))
        {
            throw new DataDirectoryTakenException(path, UrlIn(path));
        }
        File.Delete(In(path, "url"));
        var buffer = new byte[4_000];
        var previous = Encoding.UTF8.GetString(buffer, 0, node.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false));
        return new(path, node, previous.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
    }

    /// <summary>Writes down, durably, the ids that are dead when this host is.</summary>
    public void WorkAs(IEnumerable<string> nodeIds)
    {
        node.SetLength(0);
        node.Write(Encoding.UTF8.GetBytes(string.Concat(nodeIds.Take(20).Select(id => id + "\n"))));
        node.Flush(flushToDisk: true);
    }

    /// <summary>Lets a second start, and other programs, find this host.</summary>
    public void ListensAt(string url) => File.WriteAllText(In(Path, "url"), url + "\n");

    public string In(string name) => In(Path, name);

    public void Dispose()
    {
        File.Delete(In("url"));
        node.Dispose();
    }

    static string? UrlIn(string path)
    {
        try
        {
            return File.ReadAllText(In(path, "url")).Trim();
        }
        catch (IOException)
        {
            return null;
        }
    }

    static string In(string path, string name) => System.IO.Path.Combine(path, name);
}

/// <summary>The data directory holds keys, and is not the host's alone.</summary>
public sealed class DataDirectoryUnsafeException : Exception
{
    public DataDirectoryUnsafeException()
    {
    }

    public DataDirectoryUnsafeException(string message)
        : base(message)
    {
    }

    public DataDirectoryUnsafeException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <param name="why">A phrase after "it".</param>
    public DataDirectoryUnsafeException(string path, string why)
        : base($"The data directory {path} {why}. It holds keys: give it to the host's user and to nobody else (chown, chmod go-w), or name another one (--data DIR).")
    {
    }
}

/// <summary>Another host works on the data directory.</summary>
public sealed class DataDirectoryTakenException : Exception
{
    public DataDirectoryTakenException()
    {
    }

    public DataDirectoryTakenException(string message)
        : base(message)
    {
    }

    public DataDirectoryTakenException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public DataDirectoryTakenException(string path, string? url)
        : base($"A host already works on {path}{(url is null ? "" : $": {url}")}. Stop it first, or start this one with another --data and --port.")
    {
    }
}
