using Cowork.Application;

namespace Cowork.Kernels;

/// <summary>A folder of the host that a sandbox has.</summary>
/// <param name="Path">Where the sandbox sees it.</param>
sealed record SandboxFolder(GrantedFolder Folder, string Path, bool IsWritable);

/// <summary>The open folders of a session, as its sandbox has them.</summary>
sealed class SandboxFolders : IDisposable
{
    readonly List<SandboxFolder> all = [];

    public IReadOnlyList<SandboxFolder> All => all;

    /// <exception cref="KernelUnavailableException">A folder cannot be opened.</exception>
    public static SandboxFolders Open(Grants grants)
    {
        var folders = new SandboxFolders();
        try
        {
            if (grants.IsImplicit)
            {
                folders.Add(grants.First, SandboxCommand.Workspace, isWritable: true, makeFolders: true);
                return folders;
            }
            foreach (var grant in grants)
            {
                folders.Add(grant, grant.Path, isWritable: grant.CellsMayWrite && grant.OutputRoots.Contains("."), makeFolders: false);
            }
            foreach (var grant in grants.Where(grant => grant.CellsMayWrite))
            {
                foreach (var root in grant.OutputRoots.Where(root => root != "."))
                {
                    folders.AddOutput(grants, grant, root);
                }
            }
            return folders;
        }
        catch
        {
            folders.Dispose();
            throw;
        }
    }

    /// <summary>
    /// As whom the sandbox runs when the host is root. Of folders that are written to, root's are given to that user; the others stay whose they are, and the user reads there
    /// what others may read.
    /// </summary>
    /// <exception cref="IOException">A folder cannot be given to that user.</exception>
    /// <exception cref="UnauthorizedAccessException">The same.</exception>
    public SandboxUser User()
    {
        if (all.Find(folder => folder.IsWritable) is not { Folder: var first })
        {
            var (user, group) = (all[0].Folder.User, all[0].Folder.Group);
            return user == 0 ? new(SandboxUser.For(all[0].Folder.Identity), SandboxUser.For(all[0].Folder.Identity)) : new(user, group == 0 ? user : group);
        }
        var chosen = SandboxUser.Of(first);
        foreach (var folder in all.Where(folder => folder.IsWritable && folder.Folder != first))
        {
            SandboxUser.GiveTo(folder.Folder, chosen);
        }
        return chosen;
    }

    public void Dispose()
    {
        foreach (var folder in all)
        {
            folder.Folder.Dispose();
        }
    }

    void Add(Grant grant, string path, bool isWritable, bool makeFolders)
    {
        if (!GrantedFolder.TryOpen(grant, makeFolders, out var folder, out var error))
        {
            throw new KernelUnavailableException($"{(grant.Path == path ? VisibleText.Of(path) : "The workspace")} cannot be used. {error}");
        }
        all.Add(new(folder, path, isWritable));
    }

    /// <summary>Adds an output root, made where it is missing. One that a link or a file has taken the place of, and one that lies in a deeper grant, is not written to.</summary>
    void AddOutput(Grants grants, Grant grant, string root)
    {
        var output = grant with { Path = $"{grant.Path.TrimEnd('/')}/{root}" };
        var isInDeeper = grants.Any(other => IsBelow(grant.Path, other.Path) && (other.Path == output.Path || IsBelow(other.Path, output.Path)));
        if (!isInDeeper && GrantedFolder.TryOpen(output, makeFolders: true, out var folder, out _))
        {
            all.Add(new(folder, output.Path, IsWritable: true));
        }
    }

    static bool IsBelow(string folder, string path) => path.StartsWith(folder.TrimEnd('/') + "/", StringComparison.Ordinal);
}
