using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Which folders a session may be given: judged by where they really lie.</summary>
public sealed class WorkspaceSpecs : IDisposable
{
    readonly string root = TestPostgres.NewDirectory();
    readonly string outside = TestPostgres.NewDirectory();
    readonly string data = TestPostgres.NewDirectory();
    readonly Workspaces workspaces;

    public WorkspaceSpecs()
    {
        Array.ForEach([root, outside, data], folder => Directory.CreateDirectory(folder));
        workspaces = new(new() { Data = data, WorkspaceRoots = [root] });
    }

    public void Dispose() => Array.ForEach([root, outside, data], folder => Directory.Delete(folder, recursive: true));

    [Fact]
    public void A_folder_inside_a_root_is_made_and_answered()
    {
        Assert.Equal(Path.Combine(root, "a/b"), Asked($"{root}/a/./b/"));
        Assert.True(Directory.Exists(Path.Combine(root, "a/b")));
        Assert.Equal(root, Asked(root));
    }

    [Fact]
    public void Paths_that_lead_out_are_refused_and_nothing_is_made_there()
    {
        Directory.CreateSymbolicLink(Path.Combine(root, "link"), outside);
        Directory.CreateSymbolicLink(Path.Combine(root, "up"), "..");
        Directory.CreateSymbolicLink(Path.Combine(root, "round"), "round");
        File.WriteAllText(Path.Combine(root, "file"), "");
        string[] paths =
        [
            $"{root}/../x", $"{root}x", outside, "/", "/etc", $"{root}/link", $"{root}/link/new", $"{root}/up/x", $"{root}/round", $"{root}/round/x", $"{root}/file",
            $"{root}/file/x", "relative", "", data, $"{data}/workspaces", $"{data}/postgres", $"{data}/workspaces/@other/x", new string('/', 5000) + "x",
        ];
        Assert.All(paths, path => Assert.Equal("workspace_refused", workspaces.Prepare("default", new("s"), path).Refused?.Code));
        Assert.Empty(Directory.GetFileSystemEntries(outside));
        Assert.Equal(root, Path.GetFullPath(Path.Combine(root, "link/..")));
    }

    [Fact]
    public void A_link_inside_a_root_may_lead_to_another_place_inside()
    {
        Directory.CreateDirectory(Path.Combine(root, "real"));
        Directory.CreateSymbolicLink(Path.Combine(root, "alias"), Path.Combine(root, "real"));
        Assert.Equal(Path.Combine(root, "real/new"), Asked($"{root}/alias/new"));
    }

    [Fact]
    public void Each_tenant_has_its_own_folders()
    {
        var ours = workspaces.Prepare("default", new("s"), null).Path!;
        var theirs = workspaces.Prepare("other", new("s"), null).Path!;
        Assert.NotEqual(ours, theirs);
        Assert.Equal(ours, workspaces.Prepare("default", new("again"), ours).Path);
        Assert.Equal("workspace_refused", workspaces.Prepare("default", new("again"), theirs).Refused?.Code);
        Assert.Equal("workspace_refused", workspaces.Prepare("other", new("again"), ours).Refused?.Code);
    }

    string? Asked(string path) => workspaces.Prepare("default", new("s"), path).Path;
}
