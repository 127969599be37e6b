using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Which folders a session may be given: judged by where they really lie, and whose they are.</summary>
public sealed class WorkspaceSpecs(TestTenant tenant) : IClassFixture<TestTenant>, IAsyncLifetime
{
    readonly string root = TestPostgres.NewDirectory();
    readonly string outside = TestPostgres.NewDirectory();
    readonly string data = TestPostgres.NewDirectory();

    public ValueTask InitializeAsync()
    {
        Array.ForEach([root, outside, data], folder => Directory.CreateDirectory(folder));
        return default;
    }

    public ValueTask DisposeAsync()
    {
        Array.ForEach([root, outside, data], folder => Directory.Delete(folder, recursive: true));
        return default;
    }

    [Fact]
    public async Task A_folder_inside_a_root_is_made_and_answered()
    {
        var workspaces = Of(root);
        Assert.Equal(Path.Combine(root, "a/b"), await Made(workspaces, "default", $"{root}/a/./b/"));
        Assert.True(Directory.Exists(Path.Combine(root, "a/b")));
        Assert.Equal(root, await Made(workspaces, "default", root));
    }

    [Fact]
    public async Task Paths_that_lead_out_are_refused_and_nothing_is_made_there()
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
        var workspaces = Of(root);
        foreach (var path in paths)
        {
            Assert.Null(await Made(workspaces, "default", path));
        }
        Assert.Empty(Directory.GetFileSystemEntries(outside));
        Assert.Equal(root, Path.GetFullPath(Path.Combine(root, "link/..")));
    }

    [Fact]
    public async Task A_link_inside_a_root_may_lead_to_another_place_inside()
    {
        Directory.CreateDirectory(Path.Combine(root, "real"));
        Directory.CreateSymbolicLink(Path.Combine(root, "alias"), Path.Combine(root, "real"));
        Assert.Equal(Path.Combine(root, "real/new"), await Made(Of(root), "default", $"{root}/alias/new"));
    }

    [Fact]
    public async Task Each_tenant_has_its_own_folders()
    {
        var workspaces = Of(root);
        var ours = await Made(workspaces, "default", null);
        var theirs = await Made(workspaces, "other", null);
        Assert.NotEqual(ours, theirs);
        Assert.Equal(ours, await Made(workspaces, "default", ours));
        Assert.Null(await Made(workspaces, "default", theirs));
        Assert.Null(await Made(workspaces, "other", ours));
    }

    [Fact]
    public async Task A_root_with_the_tenant_in_its_path_is_one_for_each()
    {
        var workspaces = Of($"{root}/{{org}}/work");
        var ours = $"{root}/acme/work/x";
        Assert.Equal(ours, await Made(workspaces, "acme", ours));
        Assert.Equal($"{root}/acme/work", await Made(workspaces, "acme", $"{root}/acme/work"));
        foreach (var (org, path) in ((string, string)[])[
            ("globex", ours), ("globex", $"{root}/acme/work"), ("globex", root), ("acme", $"{root}/acme"), ("acme", $"{root}/acme/work/../../globex/work"), ("..", $"{root}/x"),
            (".", $"{root}/work"), ("acme", $"{root}/acme/workshop")])
        {
            Assert.Null(await Made(workspaces, org, path));
        }
        // A link that a program of one tenant makes into another's.
        Assert.NotNull(await Made(workspaces, "globex", $"{root}/globex/work/theirs"));
        Directory.CreateSymbolicLink($"{root}/globex/work/link", ours);
        Assert.Null(await Made(workspaces, "globex", $"{root}/globex/work/link"));
    }

    [Fact]
    public async Task A_root_without_the_tenant_in_its_path_is_its_first_users()
    {
        var first = Of(root);
        Assert.Equal($"{root}/a", await Made(first, "acme", $"{root}/a"));
        Assert.Equal($"{root}/b", await Made(first, "acme", $"{root}/b"));
        // Also for a host that starts later, and for a folder that holds the root or lies in it.
        foreach (var workspaces in (Workspaces[])[first, Of(root), Of(Path.GetDirectoryName(root)!, root), Of($"{root}/c", root)])
        {
            var (path, refused) = await workspaces.Prepare("globex", new("s"), $"{root}/c", default);
            Assert.Null(path);
            Assert.Contains("has no {org} in its path", refused!.Detail);
        }
        Assert.Null(await first.Grant("globex", new("s"), $"{root}/a", default));
        Assert.NotNull(await first.Grant("acme", new("s"), $"{root}/a", default));
    }

    [Fact]
    public async Task A_folder_of_another_tenant_under_another_name_is_refused()
    {
        var workspaces = Of($"{root}/{{org}}");
        await Made(workspaces, "acme", $"{root}/acme/x");
        // Two names for one folder, as a bind mount makes them, or a file system that does not tell case.
        Directory.CreateSymbolicLink($"{root}/ACME", $"{root}/acme");
        Assert.Null(await Made(workspaces, "ACME", $"{root}/ACME/x"));
        Assert.Null(await workspaces.Grant("ACME", new("s"), $"{root}/ACME/x", default));
        // A folder that is removed leaves its number to the next.
        File.Delete($"{root}/ACME");
        Directory.Delete($"{root}/acme", recursive: true);
        Assert.NotNull(await Made(workspaces, "ACME", $"{root}/ACME/x"));
    }

    [Fact]
    public async Task A_sessions_own_folder_is_found_by_every_host_and_only_for_its_tenant_and_session()
    {
        var workspaces = Of();
        Assert.NotNull(await workspaces.Grant("default", new("s"), "/mnt/a/workspaces/s", default));
        Assert.NotNull(await workspaces.Grant("acme", new("s"), "/mnt/a/workspaces/@acme/s", default));
        foreach (var (org, session, path) in ((string, string, string)[])[
            ("default", "t", "/mnt/a/workspaces/s"), ("acme", "s", "/mnt/a/workspaces/s"), ("default", "s", "/mnt/a/workspaces/@acme/s"), ("default", "s", "/etc")])
        {
            Assert.Null(await workspaces.Grant(org, new(session), path, default));
        }
    }

    [Theory]
    [InlineData("relative", null, "which is not an absolute path")]
    [InlineData("/srv/{org}", "/srv/team", "a folder of one tenant could lie in another's")]
    [InlineData("/srv/{org}", "/srv/team/{org}", "could lie in another's")]
    [InlineData("/srv/{org}", "/srv/{org}-2", "could lie in another's")]
    [InlineData("/srv", "/srv/{org}", "could lie in another's")]
    [InlineData("/", "/srv/{org}", "could lie in another's")]
    [InlineData("/srv/{org}", "/mnt/{org}", null)]
    [InlineData("/srv/{org}", "/srv/{org}/deeper", null)]
    [InlineData("/srv/a", "/srv/a/b", null)]
    [InlineData("/srv/{org}/x", "/srv2", null)]
    public void Roots_in_which_tenants_could_meet_are_refused_with_a_sentence(string one, string? other, string? words)
    {
        string[] roots = other is null ? [one] : [one, other];
        foreach (var order in (IEnumerable<string>[])[roots, roots.Reverse()])
        {
            var refused = Record.Exception(() => WorkspaceRoot.Read(order));
            Assert.Equal(words is null, refused is null);
            Assert.Contains(words ?? "", refused?.Message ?? "");
        }
    }

    /// <summary>What was seen: a link in the place of the session's folder gave away the operator's token and let a file be written into /etc.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("/..")]
    public async Task A_link_in_the_place_of_the_sessions_folder_leads_nowhere(string above)
    {
        await using var host = await LiveHost.Start(s => s with { WorkspaceRoots = [new(root)] });
        File.WriteAllText(Path.Combine(outside, "secret.txt"), "the secret");
        var session = (await host.Http.Post("/sessions", $$"""{"workspace_path":"{{root}}/team/work"}""")).Is(201);
        Assert.Contains("README.md", (await host.Http.Turn(session["session_id"], "/tool write_file {\"path\":\".anton/output/README.md\",\"content\":\"x\"}")).Is(200)["reply"]);
        var replaced = Path.GetFullPath($"{root}/team/work{above}");
        Directory.Delete(replaced, recursive: true);
        Directory.CreateDirectory($"{outside}/work");
        File.WriteAllText(Path.Combine(outside, "work/secret.txt"), "the secret");
        Directory.CreateSymbolicLink(replaced, outside);
        foreach (var call in (string[])["read_file {\"path\":\"secret.txt\"}", "list_files {}", "search_files {\"query\":\"secret\"}", "write_file {\"path\":\".anton/output/new.txt\",\"content\":\"x\"}"])
        {
            var turn = (await host.Http.Turn(session["session_id"], $"/tool {call}")).Is(200);
            Assert.DoesNotContain("the secret", (await host.Http.Get($"/runs/{turn["run_id"]}/trace")).Is(200).Text);
        }
        Assert.DoesNotContain("secret", (await host.Http.Turn(session["session_id"], "what do the files say?")).Is(200)["reply"]);
        Assert.Equal(["secret.txt", "work", "work/secret.txt"], Directory.GetFileSystemEntries(outside, "*", SearchOption.AllDirectories).Select(e => e[(outside.Length + 1)..]).Order());
    }

    /// <summary>
    /// What was seen: a part of the disk that is mounted a second time, as volumes of containers are, had the data directory in it under another name, and a granted folder gave
    /// away the operator's token and the master key.
    /// </summary>
    [Theory]
    [InlineData("8:1 /host/srv/cowork {data}", "8:1 /host/srv {root}", "{root}", false)]
    [InlineData("8:1 /host/srv/cowork {data}", "8:1 /host/srv {root}", "{root}/cowork", false)]
    [InlineData("8:1 /host/srv/cowork {data}", "8:1 /host/srv/cowork/postgres {root}/db", "{root}/db", false)]
    [InlineData("8:1 /host/srv/cowork {data}", "8:1 /host/srv/cowork/postgres {root}/a/db", "{root}/a", false)]
    [InlineData("8:1 /host/srv/cowork {data}", "8:1 /host/srv {root}", "{root}/beside", true)]
    [InlineData("8:1 /host/srv/cowork {data}", "8:1 /host/srv/cowork-2 {root}", "{root}", true)]
    [InlineData("8:1 /host/srv/cowork {data}", "8:2 /host/srv {root}", "{root}", true)]
    public async Task A_folder_that_has_the_hosts_data_in_it_under_another_name_is_refused(string ofData, string ofRoot, string asked, bool isFit)
    {
        string In(string text) => text.Replace("{root}", root, StringComparison.Ordinal).Replace("{data}", data, StringComparison.Ordinal);
        Mounts Table(params string[] lines) => Mounts.Of(string.Concat(lines.Select((line, i) => $"{i} 0 {In(line)} rw - ext4 /dev/x rw\n")));
        Array.ForEach([asked, "{root}/later"], folder => Directory.CreateDirectory(In(folder)));
        var mounts = Table("8:9 / /", ofData, ofRoot);
        var workspaces = Of(() => mounts, root);

        Assert.Equal(isFit, await Made(workspaces, "default", In(asked)) is not null);
        var (granted, refused) = await workspaces.Granted("default", [new(In(asked), false, false, false, [])], default);
        Assert.Equal(isFit, granted is not null);
        Assert.Equal(isFit, refused?.Code != "grant_refused");

        // Also what is mounted when the folder has been used.
        mounts = Table("8:9 / /", ofData);
        var later = new FolderGrant(In("{root}/later"), false, false, false, []);
        var open = new Session.Open(new("s"), later.Path, null, [], Grants: [later]);
        Assert.NotNull(await workspaces.Grants("default", open, default));
        mounts = Table("8:9 / /", ofData, "8:1 /host/srv/cowork {root}/later/x");
        Assert.Null(await workspaces.Grants("default", open, default));
    }

    Workspaces Of(params string[] roots) => Of(null, roots);

    Workspaces Of(Func<Mounts>? mounted, params string[] roots) =>
        new(new() { Data = data, WorkspaceRoots = WorkspaceRoot.Read(roots) }, tenant.Host.Services.GetRequiredService<ICommandExecutor>(), mounted);

    /// <summary>The folder that a session of the tenant gets; null: it was refused.</summary>
    static async Task<string?> Made(Workspaces workspaces, string org, string? asked)
    {
        var (path, refused) = await workspaces.Prepare(org, new SessionKey("s"), asked, default);
        Assert.Equal(path is null, refused is { Code: "workspace_refused" });
        return path;
    }
}
