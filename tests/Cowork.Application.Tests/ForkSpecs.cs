using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Sessions that fork from an event of another one: their past is that one's, by reference, and then their own.</summary>
public sealed class ForkSpecs
{
    readonly Listener model = new();
    readonly RunHarness bench;
    readonly RunHarness.Host host;

    public ForkSpecs()
    {
        bench = new() { Options = new() { DefaultModel = "listener" }, Models = { ["listener"] = model }, ToolsOf = _ => [new CountingTool(), new Writer()] };
        host = bench.AddHost("n0");
    }

    [Fact]
    public async Task A_run_forks_at_any_of_its_events_and_the_next_turn_shows_what_was_said_up_to_there()
    {
        await Turns("s", "first", "second");
        var run = await Send("s", "go\nread_file {\"path\":\"a\"}\nread_file {\"path\":\"b\"}");
        var own = await bench.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(run), 0, int.MaxValue, default);
        foreach (var entry in (await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default)).Where(e => e.Position <= own.Events[^1].Position))
        {
            var (fork, refused) = await Points.OfRun(RunHarness.Org, new("s"), run, entry.FeedId, default);
            Assert.Null(refused);
            var session = await Fork(fork!, "and now");
            var asked = string.Join(" | ", model.Requests[^1]);
            // What the model had said and been told by then, and nothing after it. A completed run is a turn like any other: its message and its reply.
            var results = entry.Is<RunEvent.RunCompleted>() ? 0 : own.Events.Count(e => e.Event is RunEvent.ToolResult && e.Position <= entry.Position);
            Assert.Equal(results, asked.Split("tool result of").Length - 1);
            Assert.StartsWith("user first | assistant first said | user second | assistant second said | user go", asked, StringComparison.Ordinal);
            Assert.EndsWith("user and now", asked, StringComparison.Ordinal);
            await Proved(session);
        }
        // The other session has nothing of it.
        Assert.Equal(own.Hash, (await bench.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(run), 0, int.MaxValue, default)).Hash);
    }

    [Fact]
    public async Task A_session_forks_at_any_of_its_events_and_a_fork_forks_again()
    {
        await Turns("s", "first", "second\nread_file {\"path\":\"a\"}", "third");
        var feed = (await bench.Engine.Feed(RunHarness.Org, new("s"), 0, int.MaxValue, default)).Entries;
        foreach (var entry in feed)
        {
            var (fork, refused) = await Points.OfSession(RunHarness.Org, new("s"), entry.FeedId, default);
            Assert.Null(refused);
            var completed = feed.Where(e => e.FeedId <= entry.FeedId && e.Is<RunEvent.RunCompleted>()).Select(e => e.Run!.Value).ToList();
            Assert.Equal(completed, fork!.History.Where(run => fork.Cuts?.Exists(cut => cut.RunId == run) is not true));
            Assert.Equal((entry.Hash, entry.Version, entry.Stream), (fork.Hash, fork.Event.Version, fork.Event.StreamId));
            var session = await Fork(fork, "in the fork");
            await Proved(session);
            var (again, _) = await Points.OfSession(RunHarness.Org, session, null, default);
            var second = await Fork(again!, "in its fork");
            Assert.EndsWith("user in the fork | assistant in said | user in its fork", string.Join(" | ", model.Requests[^1]), StringComparison.Ordinal);
            await Proved(second);
        }
    }

    [Fact]
    public async Task A_turn_in_a_fork_sees_the_past_and_then_its_own_turns_and_no_more_than_any_session()
    {
        await Turns("s", [.. Enumerable.Range(0, Limits.HistoryTurnsMax + 3).Select(i => $"turn{i}")]);
        var (fork, _) = await Points.OfSession(RunHarness.Org, new("s"), null, default);
        Assert.Equal(Limits.HistoryTurnsMax, fork!.History.Count);
        var session = await Fork(fork, "own0");
        await Send(session.Value, "own1");
        Assert.Equal(
            ["user turn4", "user own0", "user own1"], model.Requests[^1].Where(line => line.StartsWith("user", StringComparison.Ordinal)).Where((_, i) => i is 0 or >= Limits.HistoryTurnsMax - 1));
        // What is said in the session afterwards is not the fork's.
        await Send("s", "later");
        await Send(session.Value, "own2");
        Assert.DoesNotContain("user later", model.Requests[^1]);
    }

    [Fact]
    public async Task What_the_past_did_outside_the_log_is_told_and_what_only_may_have_happened_too()
    {
        await host.OpenSession("s");
        var run = await Send("s", "go\nread_file {\"path\":\"a\"}\nwrite_file {\"path\":\"b\"}\nwrite_file {\"path\":\"c\"}");
        await host.Decide(await Waiting(run), approved: true);
        await host.Drive();
        await host.Decide(await Waiting(run), approved: false);
        await host.Drive();
        var entries = await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default);
        var (whole, _) = await Points.OfRun(RunHarness.Org, new("s"), run, null, default);
        var effect = Assert.Single((await Points.Effects(RunHarness.Org, whole!, default)).Effects);
        Assert.Equal((run, "write_file", "create", true), (effect.RunId, effect.Tool, effect.Kind, effect.IsCertain));
        Assert.Equal(["b"], effect.Paths);
        var (asked, _) = await Points.OfRun(RunHarness.Org, new("s"), run, entries.First(e => e.Is<RunEvent.ApprovalRequested>()).FeedId, default);
        Assert.Empty((await Points.Effects(RunHarness.Org, asked!, default)).Effects);
    }

    [Fact]
    public async Task An_event_of_another_run_or_past_the_end_is_refused()
    {
        await Turns("s", "first", "second");
        var entries = (await bench.Engine.Feed(RunHarness.Org, new("s"), 0, int.MaxValue, default)).Entries;
        var (first, second) = (entries.First(e => e.Run is not null), entries.Last(e => e.Run is not null));
        Assert.Equal("$.at_event", (await Points.OfRun(RunHarness.Org, new("s"), first.Run!.Value, second.FeedId, default)).Refused!.Path);
        Assert.Equal("$.at_event", (await Points.OfSession(RunHarness.Org, new("s"), entries[^1].FeedId + 1, default)).Refused!.Path);
    }

    /// <summary>A bundle of a fork's run carries the lineage: the beginning of the run that it was cut from is in it, and no other will do.</summary>
    [Fact]
    public async Task A_forged_past_of_a_fork_is_found()
    {
        await host.OpenSession("s");
        var run = await Send("s", "go\nread_file {\"path\":\"a\"}");
        var result = (await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default)).First(e => e.Is<RunEvent.ToolResult>());
        var (fork, _) = await Points.OfRun(RunHarness.Org, new("s"), run, result.FeedId, default);
        var session = await Fork(fork!, "and now");
        var bundle = await Bundle(session);
        var root = JsonNode.Parse(bundle)!.AsObject();
        Assert.Equal(("fork", run.Id, result.Hash), ((string?)root["run"]!["lineage"]!["kind"], (string?)root["run"]!["lineage"]!["run_id"], (string?)root["run"]!["lineage"]!["hash"]));
        root["related"]!.AsArray().Single(e => (string?)e!["type"] == "tool_result.v1")!["data"]!["content"] = "another result";
        var report = await RunReplay.Of(BundledRun.Read(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString())), default).Run!, default);
        Assert.Equal("model_request", report.Divergence?.What);
        root.Remove("digests");
        TamperedBundles.Seal(root);
        Assert.StartsWith("$.related[", TraceVerifier.Verify(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString()))).Fault!.Location, StringComparison.Ordinal);
    }

    ForkPoints Points => new(bench.Engine, host.Queries, host.Commands);

    async Task Turns(string session, params string[] messages)
    {
        await host.OpenSession(session);
        foreach (var message in messages)
        {
            await Send(session, message);
        }
    }

    async Task<RunKey> Send(string session, string message)
    {
        var run = await host.Send(session, message);
        await host.Drive();
        return run;
    }

    async Task<ApprovalKey> Waiting(RunKey run) => ((Run.Suspended)await host.Commands.State(RunHarness.Org, Run.Aggregate, run, default)).Pending!.ApprovalId;

    async Task<SessionKey> Fork(SessionFork fork, string message)
    {
        var (session, result) = await new Forks(host.Commands, host.Commands, host.Turns, bench.Blobs, bench.Clock).Make(RunHarness.Org, RunHarness.User, fork, "{}", message, null, default);
        Assert.Null(result.Refused);
        await host.Drive();
        return session;
    }

    async Task<byte[]> Bundle(SessionKey session)
    {
        var run = (await host.Queries.Earlier(RunHarness.Org, session, 1, default)).Single();
        return (await TraceBundle.Build(bench.Engine, bench.Blobs, RunHarness.Org, session, run, default))!;
    }

    /// <summary>The bundle of the fork's run is sound, and the run replays from it and from the log.</summary>
    async Task Proved(SessionKey session)
    {
        var bundle = await Bundle(session);
        Assert.Null(TraceVerifier.Verify(bundle).Fault);
        var whole = await BundleLinesSpecs.Written(output => SessionBundle.Write(bench.Engine, bench.Blobs, null, RunHarness.Org, session, output, default));
        Assert.Null((await BundleLinesSpecs.Verify(whole)).Fault);
        var bundled = BundledRun.Read(bundle, default).Run!;
        foreach (var record in (IRunRecord[])[bundled, new LoggedRun(bench.Engine, bench.Blobs, RunHarness.Org, bundled.Run)])
        {
            var report = await RunReplay.Of(record, default);
            Assert.True(report is { Verdict: ReplayReport.Equal, Unproved.Count: 0 }, $"{report.Divergence}");
        }
    }

    /// <summary>Answers with the first word, and makes the calls of the last message once. It keeps what it was asked.</summary>
    sealed class Listener : IChatClient
    {
        public List<List<string>> Requests { get; } = [];

        public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            await Task.CompletedTask;
            var all = messages.ToList();
            Requests.Add([.. all.Where(m => m.Role != ChatRole.System).Select(m =>
                $"{m.Role.Value} {m.Contents.OfType<FunctionResultContent>().FirstOrDefault()?.Result ?? m.Text.Split('\n')[0]}")]);
            var last = all.FindLastIndex(m => m.Role == ChatRole.User);
            var lines = all[last].Text.Split('\n');
            if (lines.Length > 1 && !all.Skip(last).Any(m => m.Role == ChatRole.Tool))
            {
                foreach (var (i, line) in lines.Skip(1).Index())
                {
                    var space = line.IndexOf(' ', StringComparison.Ordinal);
                    yield return new(ChatRole.Assistant, [CallArguments.Call($"call_{i}", line[..space], line[(space + 1)..])]);
                }
            }
            else
            {
                yield return new(ChatRole.Assistant, $"{lines[0].Split(' ')[0]} said");
            }
            yield return new(ChatRole.Assistant, [new UsageContent(new() { InputTokenCount = 3, OutputTokenCount = 2 })]);
        }

        public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
            GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

        public object? GetService(Type serviceType, object? serviceKey = null) => null;

        public void Dispose()
        {
        }
    }

    /// <summary>A tool whose calls a person approves.</summary>
    sealed class Writer : ITool
    {
        public string Name => "write_file";

        public string Description => "Writes.";

        public System.Text.Json.JsonElement Schema { get; } = System.Text.Json.JsonElement.Parse("""{"type":"object"}""");

        public ValueTask<CallSubject> Subject(ToolContext context, System.Text.Json.JsonElement input, CancellationToken ct) =>
            new(new CallSubject("create", input.GetProperty("path").GetString()));

        public Task<ToolOutcome> Run(ToolContext context, System.Text.Json.JsonElement input, CancellationToken ct) => Task.FromResult(ToolOutcome.Ok("Wrote."));
    }
}
