namespace Cowork.Testing.Hosts;

/// <summary>Specs whose hosts write below a directory of the spec's own. It is deleted after each spec.</summary>
public abstract class DirectorySpecs : IAsyncDisposable
{
    /// <summary>Path of the directory. The first host makes it.</summary>
    protected string Data { get; } = TestPostgres.NewDirectory();

    /// <summary>Settings of hosts that are one service: each has a data directory below <see cref="Data"/>, and they share blobs and workspaces.</summary>
    protected (string Name, string Value)[] Shared =>
        [("Cowork__Blobs", Path.Combine(Data, "blobs")), ("Cowork__WorkspaceRoots__0", Path.Combine(Data, "workspaces"))];

    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        if (Directory.Exists(Data))
        {
            Directory.Delete(Data, recursive: true);
        }
        return default;
    }
}
