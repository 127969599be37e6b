using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>What a run writes below its output root is found, with its versions, and is that run's and no other's.</summary>
public sealed class ArtifactSpecs : IDisposable
{
    readonly Workspace work = new();

    public void Dispose() => work.Dispose();

    [Fact]
    public async Task Two_sessions_in_one_folder_have_each_their_own()
    {
        var blobs = new InMemoryBlobs();
        var bench = new RunHarness { Blobs = blobs, Workspace = work.Root, Tools = [new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads)] };
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        await host.OpenSession("t");
        work.Write(".anton/output/there.md", "was there before");
        Assert.Equal(["r.md 1 one", "data/x.csv 1 two"], await Artifacts("s", Write("r.md", "one") + Write("data/x.csv", "two")));
        Assert.Equal(["r.md 1 other"], await Artifacts("t", Write("r.md", "other")));
        Assert.Equal(["r.md 2 next", "r.md 3 last"], await Artifacts("s", Write("r.md", "next") + Write("r.md", "last") + Write("r.md", "last")));
        Assert.Equal(["r.md 3 last"], await Artifacts("s", Write("r.md", "last")));
        Assert.Empty(await Artifacts("s", ""));

        async Task<IEnumerable<string>> Artifacts(string session, string calls)
        {
            var run = await host.Send(session, "go" + calls);
            host.Node.ClaimDue();
            await host.DriveOne();
            var (report, fault) = TraceVerifier.Verify(await TraceBundle.Build(bench.Engine, blobs, RunHarness.Org, new(session), run, default));
            Assert.Null(fault);
            Assert.Equal("completed", report!.Status);
            var found = (await bench.Engine.OfRun(RunHarness.Org, new(session), run, default)).Where(e => e.Type == "artifact_discovered.v1")
                .Select(e => (ArtifactEvent.ArtifactDiscovered)e.Read()).ToList();
            var told = new List<string>();
            foreach (var a in found)
            {
                told.Add($"{a.Path[".anton/output/".Length..]} {a.Version} {System.Text.Encoding.UTF8.GetString((await blobs.Get(a.Sha256, default))!)}");
            }
            return told;
        }

        static string Write(string path, string content) => $"\nwrite_file {{\"path\":\".anton/output/{path}\",\"content\":\"{content}\"}}";
    }

    [Fact]
    public async Task A_bundle_whose_artifacts_were_changed_is_found_out()
    {
        var blobs = new InMemoryBlobs();
        var bench = new RunHarness { Blobs = blobs, Workspace = work.Root, Tools = [new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads)] };
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        var run = await host.Send("s", "go\nwrite_file {\"path\":\".anton/output/r.md\",\"content\":\"x\"}");
        await host.DriveOne();
        var bundle = await TraceBundle.Build(bench.Engine, blobs, RunHarness.Org, new("s"), run, default);
        var at = bundle!.AsSpan().IndexOf("\"artifacts\":[{"u8);
        var media = at + bundle.AsSpan(at).IndexOf("text/markdown"u8);
        bundle![media] = (byte)'T';
        Assert.Equal("$.artifacts[0].media_type", TraceVerifier.Verify(bundle).Fault!.Location);
    }

    [Fact]
    public async Task What_one_session_overwrites_moves_or_deletes_stays_the_others_artifact()
    {
        var allowed = new Policy([new("all", PolicyOutcome.Allow, "Everything.")]);
        var blobs = new InMemoryBlobs();
        var bench = new RunHarness
        {
            Blobs = blobs,
            Workspace = work.Root,
            Policy = allowed,
            Tools = [new WriteFile(allowed, blobs, Workspace.NoUploads), new MoveFile(allowed, blobs, Workspace.NoUploads), new DeleteFile(allowed)],
        };
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        await host.OpenSession("t");
        await Go("s", """write_file {"path":".anton/output/r.md","content":"of s"}""");
        await Go("t", """write_file {"path":".anton/output/r.md","content":"of t"}""");
        Assert.Equal(["s r.md 1 of s", "t r.md 1 of t"], await Versions());
        await Go("t", """move_file {"from":".anton/output/r.md","to":".anton/output/moved.md"}""");
        await Go("t", """delete_file {"path":".anton/output/moved.md"}""");
        Assert.Equal(["s r.md 1 of s", "t moved.md 1 of t", "t r.md 1 of t"], await Versions());
        await Go("s", """write_file {"path":".anton/output/r.md","content":"of t"}"""); // t's very bytes, and s's version 2
        await Go("t", """write_file {"path":".anton/output/r.md","content":"of t"}""");
        Assert.Equal(["s r.md 1 of s", "s r.md 2 of t", "t moved.md 1 of t", "t r.md 1 of t"], await Versions());
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)bench.Engine).FindDifference(model, default));
        }

        async Task Go(string session, string call)
        {
            await host.Send(session, $"go\n{call}");
            await foreach (var (claim, lost) in host.Node.Claims(default))
            {
                Assert.True(await ((IJobHandler)host.Driver).Run(claim, lost));
                break;
            }
        }

        async Task<IEnumerable<string>> Versions()
        {
            var told = new List<string>();
            foreach (var row in bench.Engine.All(RunHarness.Org, ArtifactVersions.Model.Table))
            {
                var version = ArtifactVersions.Model.Read(row.Json.Span);
                var of = Artifacts.Model.Read((await ((IRows)bench.Engine).Get(RunHarness.Org, Artifacts.Model.Table, version.ArtifactId.Value, default))!.Json.Span);
                var text = System.Text.Encoding.UTF8.GetString((await blobs.Get(version.Sha256, default))!);
                Assert.Equal(text.Length, version.Bytes);
                told.Add($"{of.SessionId} {of.Path[".anton/output/".Length..]} {version.Version} {text}");
            }
            return told.Order(StringComparer.Ordinal);
        }
    }
}
